-- A publisher that is erased leaves what it published: others installed it, the log's leaves are everybody's proof, and a
-- scope that became free again would let anybody publish under its name.
call core.erase_keeps('registry.scope', 'true');
call core.erase_keeps('registry.author_key', 'true');
call core.erase_keeps('registry.skill', 'visibility = ''public''');
call core.erase_keeps('registry.version', 'visibility = ''public''');
call core.erase_keeps('registry.log', 'true');
