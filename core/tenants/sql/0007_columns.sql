-- What an invitation promised, and to whom, is fixed when it is made: a tenant can only take it back.
call core.permit_columns('core.invitation', 'update', 'revoked_at', 'agentos_app');
