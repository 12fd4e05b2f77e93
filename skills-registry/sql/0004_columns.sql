-- Who may be trusted is not the publisher's to say: a verified publisher's code may run with JIT. Until publishers can be
-- verified, only the operator's own scopes are (Tenant Zero).
create policy scope_verified on registry.scope as restrictive for insert to agentos_app
  with check (not verified or tenant_id = '00000000-0000-7000-8000-000000000000');

-- A new version changes what is said of its skill, not whose it is, what it is called or who sees it.
call core.permit_columns('registry.skill', 'update', 'latest, description, updated_at', 'agentos_app');
