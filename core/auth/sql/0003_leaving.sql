-- Users who are a member of nothing any more are deleted after a while (core/auth/login/store.ts).
call core.system_access('core.app_user', 'delete');
