-- What a dashboard of members reads by membership (PostgREST, Supabase): sessions and their checkpoints.
call core.member_read('pulse.session');
call core.member_read('pulse.checkpoint');
