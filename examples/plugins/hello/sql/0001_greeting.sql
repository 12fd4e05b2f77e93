create schema hello;

-- A greeting's row is also its actor's: state, context, epoch and lease are added by core.actor_table.
create table hello.greeting (
  tenant_id uuid not null default core.tenant(),
  id uuid not null,
  name text not null,
  language text not null,
  primary key (tenant_id, id)
);
call core.isolate('hello.greeting', 'select, insert, update');
call core.actor_table('hello.greeting');
