-- A queue keeps one waiting job per key, whoever's it is: a tenant that held another one's key would silently drop its jobs.
-- So a key begins with its tenant, and none is no way out: the index takes it for ''.
create policy app_own_key on pgboss.job_common as restrictive for insert to agentos_app
  with check (starts_with(singleton_key, (select core.tenant())::text || ':'));
