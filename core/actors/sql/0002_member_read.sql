-- A session's history, read by membership (PostgREST, Supabase). Not the journal and the inbox: outputs and commands.
call core.member_read('core.transition');
