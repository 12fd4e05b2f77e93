-- Which skills their tenants installed, read by membership (PostgREST, Supabase).
call core.member_read('registry.install');
