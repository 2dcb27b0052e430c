-- Who says that an event happened: the program itself, or somebody outside.
ALTER TABLE events ADD COLUMN source TEXT NOT NULL DEFAULT 'pipeline';

-- The API token that launched a deployment; NULL is the operator.
ALTER TABLE deployments ADD COLUMN owner TEXT;
CREATE INDEX deployments_by_owner ON deployments (owner, status) WHERE owner IS NOT NULL;

-- The names that are taken.
CREATE INDEX deployments_living ON deployments (name, target) WHERE status <> 'destroyed';

-- Whether somebody asked that it be given up, while it was at work.
ALTER TABLE operations ADD COLUMN given_up INTEGER NOT NULL DEFAULT 0;
