-- Who says that an event happened: the program itself, or somebody outside.
ALTER TABLE events ADD COLUMN source TEXT NOT NULL DEFAULT 'pipeline';

-- The API token that launched a deployment; NULL is the operator.
ALTER TABLE deployments ADD COLUMN owner TEXT;
