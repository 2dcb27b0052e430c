-- Who says that an event happened: the program itself, or somebody outside.
ALTER TABLE events ADD COLUMN source TEXT NOT NULL DEFAULT 'pipeline';

-- The last event that was removed because of its age: whoever has seen none after it has missed
-- some, also when no event is left at all.
ALTER TABLE installation ADD COLUMN events_pruned_to INTEGER NOT NULL DEFAULT 0;
UPDATE installation SET events_pruned_to = coalesce(
    (SELECT min(sequence) - 1 FROM events),
    (SELECT seq FROM sqlite_sequence WHERE name = 'events'),
    0
);

-- The API token that launched a deployment; NULL is the operator.
ALTER TABLE deployments ADD COLUMN owner TEXT;
CREATE INDEX deployments_by_owner ON deployments (owner, status) WHERE owner IS NOT NULL;

-- What a list is made from, and which names are taken. A row of the table itself is long.
CREATE INDEX deployments_living ON deployments (name, status, target) WHERE status <> 'destroyed';
CREATE INDEX deployments_destroyed ON deployments (name, target, updated_at)
    WHERE status = 'destroyed';

DROP INDEX operations_by_deployment;
CREATE INDEX operations_by_deployment ON operations (deployment, sequence, status);
CREATE INDEX operations_by_status ON operations (status, sequence);
CREATE INDEX operations_by_age ON operations (ended_at) WHERE ended_at IS NOT NULL;

-- Whether somebody asked that it be given up, while it was at work.
ALTER TABLE operations ADD COLUMN given_up INTEGER NOT NULL DEFAULT 0;
