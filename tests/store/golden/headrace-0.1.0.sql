BEGIN TRANSACTION;
CREATE TABLE account (
	id TEXT NOT NULL, 
	organisation_id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	role TEXT NOT NULL, 
	service TEXT, 
	created_ns BIGINT NOT NULL, 
	closed_ns BIGINT, 
	CONSTRAINT pk_account PRIMARY KEY (id), 
	CONSTRAINT fk_account_organisation_id FOREIGN KEY(organisation_id) REFERENCES organisation (id), 
	CONSTRAINT uq_account_organisation_id_id UNIQUE (organisation_id, id), 
	CONSTRAINT uq_account_organisation_id_service UNIQUE (organisation_id, service), 
	CONSTRAINT ck_account_ck_account_kind CHECK (kind IN ('person', 'service')), 
	CONSTRAINT ck_account_ck_account_role CHECK (role IN ('owner', 'admin', 'member', 'viewer')), 
	CONSTRAINT ck_account_ck_account_service CHECK ((kind = 'service') = (service IS NOT NULL))
);
INSERT INTO "account" VALUES('owner','home','person','owner',NULL,2,NULL);
INSERT INTO "account" VALUES('chat','home','service','member','chat',3,NULL);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE api_key (
	id TEXT NOT NULL, 
	organisation_id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	hash TEXT NOT NULL, 
	last4 TEXT NOT NULL, 
	purpose TEXT NOT NULL, 
	created_ns BIGINT NOT NULL, 
	expires_ns BIGINT, 
	revoked_ns BIGINT, 
	last_used_ns BIGINT, 
	CONSTRAINT pk_api_key PRIMARY KEY (id), 
	CONSTRAINT uq_api_key_hash UNIQUE (hash), 
	CONSTRAINT fk_api_key_organisation_id_account_id FOREIGN KEY(organisation_id, account_id) REFERENCES account (organisation_id, id)
);
INSERT INTO "api_key" VALUES('key-1','home','owner','laptop','00ff','wxyz','api',4,NULL,NULL,NULL);
CREATE TABLE conversation (
	id TEXT NOT NULL, 
	organisation_id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	title TEXT NOT NULL, 
	model_id TEXT NOT NULL, 
	head_id TEXT, 
	created_ns BIGINT NOT NULL, 
	updated_ns BIGINT NOT NULL, 
	CONSTRAINT pk_conversation PRIMARY KEY (id), 
	CONSTRAINT fk_conversation_organisation_id_account_id FOREIGN KEY(organisation_id, account_id) REFERENCES account (organisation_id, id)
);
INSERT INTO "conversation" VALUES('conversation-1','home','owner','A chat','tiny','message-2',8,9);
CREATE TABLE generation (
	id TEXT NOT NULL, 
	organisation_id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	worker TEXT NOT NULL, 
	key_id TEXT NOT NULL, 
	purpose TEXT NOT NULL, 
	model_id TEXT NOT NULL, 
	release_digest TEXT NOT NULL, 
	engine TEXT NOT NULL, 
	dialect TEXT NOT NULL, 
	input_tokens BIGINT, 
	cached_tokens BIGINT, 
	output_tokens BIGINT, 
	reasoning_tokens BIGINT, 
	cost_nano BIGINT, 
	started_ns BIGINT NOT NULL, 
	first_token_ms BIGINT, 
	duration_ms BIGINT, 
	stop TEXT, 
	error_kind TEXT, 
	parent_id TEXT, 
	CONSTRAINT pk_generation PRIMARY KEY (id)
);
INSERT INTO "generation" VALUES('generation-1','home','owner','control','key-1','api','tiny','sha256:abababababababababababababababababababababababababababababababab','scripted','openai',12,4,30,5,1500,7,40,540,'end',NULL,NULL);
INSERT INTO "generation" VALUES('generation-2','home','owner','control','key-1','api','tiny','sha256:abababababababababababababababababababababababababababababababab','scripted','openai',NULL,NULL,NULL,NULL,NULL,7,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE message (
	id TEXT NOT NULL, 
	organisation_id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	conversation_id TEXT NOT NULL, 
	parent_id TEXT, 
	role TEXT NOT NULL, 
	model_id TEXT, 
	status TEXT NOT NULL, 
	parts TEXT NOT NULL, 
	seq INTEGER NOT NULL, 
	generation_id TEXT, 
	receipt TEXT, 
	error TEXT, 
	created_ns BIGINT NOT NULL, 
	CONSTRAINT pk_message PRIMARY KEY (id), 
	CONSTRAINT fk_message_organisation_id_account_id FOREIGN KEY(organisation_id, account_id) REFERENCES account (organisation_id, id), 
	CONSTRAINT fk_message_conversation_id FOREIGN KEY(conversation_id) REFERENCES conversation (id) ON DELETE CASCADE, 
	CONSTRAINT fk_message_parent_id FOREIGN KEY(parent_id) REFERENCES message (id), 
	CONSTRAINT ck_message_ck_message_role CHECK (role IN ('system', 'developer', 'user', 'assistant')), 
	CONSTRAINT ck_message_ck_message_status CHECK (status IN ('running', 'done', 'interrupted', 'stopped', 'error'))
);
INSERT INTO "message" VALUES('message-1','home','owner','conversation-1',NULL,'user','tiny','done','[{"type":"text","text":"Hello \u0000"}]',0,NULL,NULL,NULL,10);
INSERT INTO "message" VALUES('message-2','home','owner','conversation-1','message-1','assistant','tiny','running','[{"type":"text","text":"Hello \u0000"}]',1,NULL,NULL,NULL,10);
CREATE TABLE organisation (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	created_ns BIGINT NOT NULL, 
	CONSTRAINT pk_organisation PRIMARY KEY (id)
);
INSERT INTO "organisation" VALUES('home','Home',1);
CREATE TABLE person (
	account_id TEXT NOT NULL, 
	organisation_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	email TEXT, 
	CONSTRAINT pk_person PRIMARY KEY (account_id), 
	CONSTRAINT fk_person_organisation_id_account_id FOREIGN KEY(organisation_id, account_id) REFERENCES account (organisation_id, id)
);
INSERT INTO "person" VALUES('owner','home','Ada 0 Ünïcode',NULL);
CREATE TABLE projection (
	name TEXT NOT NULL, 
	position TEXT NOT NULL, 
	CONSTRAINT pk_projection PRIMARY KEY (name)
);
INSERT INTO "projection" VALUES('generation:control','{}');
CREATE TABLE release (
	id TEXT NOT NULL, 
	organisation_id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	model_id TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	state TEXT NOT NULL, 
	card TEXT NOT NULL, 
	created_ns BIGINT NOT NULL, 
	CONSTRAINT pk_release PRIMARY KEY (id), 
	CONSTRAINT uq_release_organisation_id_digest UNIQUE (organisation_id, digest), 
	CONSTRAINT fk_release_organisation_id_account_id FOREIGN KEY(organisation_id, account_id) REFERENCES account (organisation_id, id)
);
INSERT INTO "release" VALUES('release-1','home','owner','tiny','sha256:abababababababababababababababababababababababababababababababab','adopted','{"model_id":"tiny"}',6);
CREATE TABLE reply_event (
	message_id TEXT NOT NULL, 
	seq INTEGER NOT NULL, 
	organisation_id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	payload TEXT NOT NULL, 
	CONSTRAINT pk_reply_event PRIMARY KEY (message_id, seq), 
	CONSTRAINT fk_reply_event_message_id FOREIGN KEY(message_id) REFERENCES message (id) ON DELETE CASCADE, 
	CONSTRAINT fk_reply_event_organisation_id_account_id FOREIGN KEY(organisation_id, account_id) REFERENCES account (organisation_id, id)
);
INSERT INTO "reply_event" VALUES('message-2',1,'home','owner','{"v":1}');
CREATE TABLE session (
	hash TEXT NOT NULL, 
	organisation_id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	created_ns BIGINT NOT NULL, 
	expires_ns BIGINT NOT NULL, 
	CONSTRAINT pk_session PRIMARY KEY (hash), 
	CONSTRAINT fk_session_organisation_id_account_id FOREIGN KEY(organisation_id, account_id) REFERENCES account (organisation_id, id)
);
INSERT INTO "session" VALUES('session-hash','home','owner',5,4611686018427387904);
CREATE TABLE sign_in_link (
	hash TEXT NOT NULL, 
	organisation_id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	expires_ns BIGINT NOT NULL, 
	used_ns BIGINT, 
	CONSTRAINT pk_sign_in_link PRIMARY KEY (hash), 
	CONSTRAINT fk_sign_in_link_organisation_id_account_id FOREIGN KEY(organisation_id, account_id) REFERENCES account (organisation_id, id)
);
INSERT INTO "sign_in_link" VALUES('link-hash','home','owner',4611686018427387904,NULL);
CREATE INDEX ix_api_key_organisation_id_account_id ON api_key (organisation_id, account_id);
CREATE INDEX ix_session_expires_ns ON session (expires_ns);
CREATE INDEX ix_sign_in_link_expires_ns ON sign_in_link (expires_ns);
CREATE INDEX ix_generation_organisation_id_account_id_id ON generation (organisation_id, account_id, id);
CREATE INDEX ix_generation_organisation_id_id ON generation (organisation_id, id);
CREATE INDEX ix_generation_open ON generation (worker) WHERE stop IS NULL;
CREATE INDEX ix_conversation_organisation_id_account_id_updated_ns_id ON conversation (organisation_id, account_id, updated_ns, id);
CREATE INDEX ix_message_parent_id ON message (parent_id);
CREATE INDEX ix_message_conversation_id_parent_id_created_ns_id ON message (conversation_id, parent_id, created_ns, id);
CREATE INDEX ix_message_running ON message (conversation_id) WHERE status = 'running';
COMMIT;
