#pragma once

/*
 * wire is what agents, importers, the CLI and aggregators say to each other. docs/formats/wire.md
 * has the bytes. Every message is one envelope; every request gets one reply.
 *
 *	HELLO ----> opens a session (a dictionary both keep)  ----> HELLO_REPLY
 *	PUSH  ----> dict delta + sections (agent, epoch, shard, seq, batch)
 *	                                                      ----> PUSH_REPLY (a status each)
 *	SYMBOLS --> one part of one file's function table     ----> STATUS
 *	QUERY ----> a question                                ----> PAGE: the first, and an id
 *	                                                            for the rest
 *	FETCH ----> a further page of that answer             ----> PAGE
 *	ADMIN ----> a method of administration and its body   ----> ADMIN_REPLY
 *
 * A session has one request in flight at a time, numbered, because dictionary deltas are ordered.
 * After a lost reply the sender opens a new session and sends the same sections again under the
 * same ids: the aggregator answers DUP for what it has. Equal ids mean equal content.
 *
 * Decoders refuse before they allocate. All text is borrowed from the message unless said.
 */

#include <stdint.h>

#include "core/buf.h"
#include "core/reader.h"
#include "profile/batch.h"
#include "profile/dict.h"

#define WIRE_VERSION            1
#define WIRE_MESSAGE_BYTES_MAX  (4u << 20) /* packed, with envelope */
#define WIRE_UNPACKED_BYTES_MAX (32u << 20)
#define WIRE_SECTIONS_MAX       4096
#define WIRE_WANTED_MAX         64 /* build-ids asked for in one reply */
#define WIRE_SHARDS_MAX         4096
#define WIRE_TEXT_BYTES_MAX     4096
#define WIRE_BY_MAX             4 /* labels that one question groups by */

enum wire_kind {
	WIRE_HELLO = 1,
	WIRE_HELLO_REPLY = 2,
	WIRE_PUSH = 3,
	WIRE_PUSH_REPLY = 4,
	WIRE_SYMBOLS = 5,
	WIRE_STATUS = 6, /* reply to SYMBOLS, and the refusal of any request */
	WIRE_QUERY = 7,
	WIRE_FETCH = 8,
	WIRE_PAGE = 9, /* reply to QUERY and FETCH */
	WIRE_ADMIN = 10,
	WIRE_ADMIN_REPLY = 11,
};

/* Codes of WIRE_STATUS, and of each section in a PUSH_REPLY. */
enum wire_status {
	WIRE_OK = 0,        /* durable */
	WIRE_DUP = 1,       /* durable since before */
	WIRE_BUSY = 2,      /* nothing kept; try again after retry_ms */
	WIRE_NOT_OWNER = 3, /* this shard lives elsewhere: say HELLO again for the map */
	WIRE_REJECT = 4,    /* never acceptable; the text says why. Count it as lost */
	WIRE_TOO_NEW = 5,   /* a version or a must-understand field we do not know */
	WIRE_RESET = 6,     /* the session is unknown: open a new one and send again */
	WIRE_MALFORMED = 7, /* the message made no sense; nothing of it was kept */
	WIRE_NOT_FOUND = 8, /* no such page, query or data */
	WIRE_INVALID =
	        9, /* a question that cannot be asked: the text says where and what to write */
	WIRE_FAILED = 10,  /* the server could not: storage, memory, disk. The text says what */
	WIRE_TOO_BIG = 11, /* past the server's memory bound for one query: narrow it */
	WIRE_DENIED = 12,  /* not allowed from where the request came */
	WIRE_STOPPED = 13, /* a safety stop: nothing was done; the text says how to confirm */
};

const char *wire_status_name(uint32_t status); /* "ok", "dup", ...; "unknown" */

/* An envelope, opened: magic, version, kind, checksum checked; the payload unpacked into
 * `unpacked`. */
struct wire_message {
	uint16_t kind;
	struct reader payload;
};

/*
 * Wraps a payload: packs with LZ4 where that is smaller, checksums. `to` is failed afterwards when
 * the payload was, or is past WIRE_UNPACKED_BYTES_MAX, or the envelope past WIRE_MESSAGE_BYTES_MAX.
 */
void wire_seal(enum wire_kind kind, const struct buf *payload, struct buf *to);

/*
 * Replaces what is in `unpacked`, which the payload then points into.
 * -EPROTO: not an envelope, or a broken one (magic, length, checksum). -EPROTONOSUPPORT: a newer
 * version, or a kind or flag that this version does not know. -E2BIG: past a limit, that of
 * `unpacked` included; nothing allocated. -ENOMEM.
 */
int wire_open(
        const uint8_t *bytes, size_t count, struct buf *unpacked, struct wire_message *ret_message);

/*
 * What kind a message claims to be, unchecked: to choose a queue before the work of opening it.
 * 0: too short, or not ours.
 */
uint16_t wire_peek_kind(const uint8_t *bytes, size_t count);

struct wire_uuid {
	uint8_t bytes[16];
};

enum wire_role { WIRE_ROLE_AGENT = 1, WIRE_ROLE_IMPORT = 2, WIRE_ROLE_CLI = 3 };

struct wire_text {
	const char *bytes; /* borrowed, not zero-terminated */
	uint32_t count;
};

struct wire_hello {
	uint16_t version_min, version_max;
	uint64_t features; /* bits; none yet */
	uint32_t role;
	struct wire_uuid uuid; /* of the agent: the same after a restart */
	uint64_t epoch;        /* of this start: differs after a restart */
	struct wire_text host;
	struct wire_text program; /* "profleet-agent 0.1.0" */
	struct wire_text tenant;  /* "" is the default */
};

struct wire_hello_reply {
	uint16_t version;
	uint64_t features;
	uint64_t session; /* random, never 0 */
	uint32_t shards;  /* virtual shards: a section belongs to one by wire_shard() */
	uint64_t map_version;
	uint32_t push_bytes_max; /* unpacked payload that a PUSH may have */
	uint32_t nodes_max;      /* of the session's dict: open a new session before it is full */
	uint64_t unix_ns;        /* the aggregator's clock */
	struct wire_text program;
};

/* What an agent says of itself with every push; shown by `profleet agents`. */
struct wire_agent_state {
	uint64_t hz_milli;      /* the true rate, in 1/1000 Hz */
	uint64_t samples_taken; /* since this epoch began, counted in the kernel */
	uint64_t samples_sent;  /* made durable */
	uint64_t spool_samples;
	uint64_t spool_bytes;
	uint64_t cpu_ns; /* used by the agent since it started */
	uint64_t rss_bytes;
	uint64_t lost[LOSS_REASON_MAX + 1]; /* since this epoch began */
};

/* One section of a PUSH: the batch's ids are of the session's dict. */
struct wire_section {
	uint16_t shard;
	struct wire_uuid uuid; /* of the agent that saw it; a spool may outlive an epoch */
	uint64_t epoch;
	uint64_t seq;        /* from 1 per (uuid, epoch, shard) */
	struct reader batch; /* for batch_decode(), after which reader_left() must be 0; not read by
	                        put */
};

/* PUSH, written in order: begin, section..., end. Decoded likewise. */
struct wire_push {
	uint64_t session;
	uint64_t request; /* counts up from 1 in a session */
	struct wire_agent_state state;
	uint32_t sections_count;
	bool is_last; /* the sender ends the session with it: its dictionary may go */
};

/*
 * What holds for every pair of put and get. A put cuts texts at WIRE_TEXT_BYTES_MAX or a zero byte,
 * and asserts the other limits. A get reads a whole payload: -EBADMSG when it is not one, when a
 * text holds a zero byte, or when bytes are left; -EPROTONOSUPPORT when it has an extension that
 * must be understood and is not. Numbers without a limit above (role, question, status) come
 * through as they are.
 */
void wire_put_hello(const struct wire_hello *hello, struct buf *payload);
int wire_get_hello(struct reader *payload, struct wire_hello *ret_hello);
void wire_put_hello_reply(const struct wire_hello_reply *reply, struct buf *payload);
int wire_get_hello_reply(struct reader *payload, struct wire_hello_reply *ret_reply);

/* The header and the delta of the session's dict since `known`. Then sections_count sections. */
void wire_put_push(const struct wire_push *push, const struct dict *dict, struct dict_mark known,
        struct buf *payload);
void wire_put_section(
        const struct wire_section *section, const struct batch *batch, struct buf *payload);

/*
 * Reads the header and checks that the sections are whole; *ret_delta is for dict_decode() into the
 * session's dict, once session and request were checked, and then reader_left() must be 0; then
 * wire_get_section() sections_count times. -EBADMSG, -EPROTONOSUPPORT.
 */
int wire_get_push(struct reader *payload, struct wire_push *ret_push, struct reader *ret_delta);
int wire_get_section(struct reader *payload, struct wire_section *ret_section);

struct wire_section_status {
	uint16_t shard;
	uint64_t seq;
	uint32_t status;
	uint32_t retry_ms;
	struct wire_text reason;
};

struct wire_push_reply {
	uint32_t status; /* of the message as a whole: OK, or RESET, BUSY, ... and then no sections
	                  */
	uint32_t retry_ms;
	struct wire_text reason;
	uint32_t sections_count;
	struct wire_section_status
	        *sections; /* encoder: caller's; decoder: array of the caller, WIRE_SECTIONS_MAX */
	uint32_t wanted_count; /* build-ids whose symbols the aggregator lacks */
	struct wire_text wanted[WIRE_WANTED_MAX];
};

void wire_put_push_reply(const struct wire_push_reply *reply, struct buf *payload);
/* ret_reply->sections must point to WIRE_SECTIONS_MAX places; they may be written to on failure
 * too. */
int wire_get_push_reply(struct reader *payload, struct wire_push_reply *ret_reply);

struct wire_symbols {
	struct wire_text build_id;
	uint32_t part, parts; /* part < parts; parts arrive in order; 0 of n starts again */
	uint64_t total_bytes;
	const uint8_t *bytes; /* of the encoding that symbols_builder_finish() made; none: nothing
	                         to be had */
	uint32_t count;
};

void wire_put_symbols(const struct wire_symbols *symbols, struct buf *payload);
int wire_get_symbols(struct reader *payload, struct wire_symbols *ret_symbols);

struct wire_status_reply {
	uint32_t status;
	uint32_t retry_ms;
	struct wire_text text;
};

void wire_put_status(const struct wire_status_reply *status, struct buf *payload);
int wire_get_status(struct reader *payload, struct wire_status_reply *ret_status);

enum wire_question {
	WIRE_ASK_PROFILE = 1, /* answer: answer_encode() */
	WIRE_ASK_SERIES = 2,  /* answers from here on: JSON text, docs/formats/json.md */
	WIRE_ASK_LABELS = 3,
	WIRE_ASK_AGENTS = 4,
	WIRE_ASK_STATUS = 5,
	WIRE_ASK_FUNCTIONS = 6, /* answers: answer_encode(), with CUM */
	WIRE_ASK_TREE = 7,      /* with CUT where something was cut */
	WIRE_ASK_TIMELINE = 8,  /* JSON */
	WIRE_ASK_PROGRESS = 9,  /* of the question of that ticket: wire_put_progress() */
};

struct wire_query_side {
	struct wire_text selector;
	uint64_t from_ns, to_ns; /* intervals that start in [from, to) */
};

struct wire_query {
	uint32_t question;
	uint32_t level; /* enum naming_level */
	uint32_t group; /* enum wire_group */
	uint32_t sides_count;
	struct wire_query_side sides[2];
	struct wire_text label; /* WIRE_ASK_LABELS: whose values; "" for names */
	/* What came later; zeroes are what it was before. */
	struct wire_text by[WIRE_BY_MAX]; /* WIRE_GROUP_LABELS: names of labels */
	uint32_t by_count;
	uint32_t nodes_max;        /* WIRE_ASK_TREE, FUNCTIONS: how many at most; 0: all */
	uint64_t step_ns;          /* WIRE_ASK_TIMELINE */
	struct wire_text function; /* likewise: "" is all of the value */
	/* WIRE_ASK_FUNCTIONS, with nodes_max: which of them come first; else by flat. */
	bool by_cum, by_change;
	bool is_canonical; /* WIRE_ASK_FUNCTIONS: join by canonical names (profile/canon.h) */
	uint64_t ticket;   /* by which the client may ask for its progress; 0: it will not */
};

/*
 * In `by`, no name of a label: the hash of the label instance, 0 to 15, by which sums of hours and
 * days still tell instances apart when all else of them is gone.
 */
#define WIRE_BY_BUCKET "instance%16"

/* What the rows of an answer's sides are kept apart by. */
enum wire_group {
	WIRE_GROUP_TYPE = 1,     /* one series per (type, unit), without labels */
	WIRE_GROUP_SERIES = 2,   /* every series with all its labels */
	WIRE_GROUP_INSTANCE = 3, /* type and the label instance: for spreads */
	WIRE_GROUP_LABELS = 4,   /* type and the labels of `by` */
};

void wire_put_query(const struct wire_query *query, struct buf *payload);
int wire_get_query(struct reader *payload, struct wire_query *ret_query);

struct wire_fetch {
	uint64_t query;
	uint64_t offset;
};

void wire_put_fetch(const struct wire_fetch *fetch, struct buf *payload);
int wire_get_fetch(struct reader *payload, struct wire_fetch *ret_fetch);

struct wire_page {
	uint64_t query; /* 0 when this page is the whole */
	uint64_t total_bytes;
	uint64_t offset;
	const uint8_t *bytes;
	uint32_t count;
};

/* How far a question is. Both are 0 where nobody knows: it waits, is done, or is of another kind.
 */
struct wire_progress {
	uint64_t done_ns, total_ns; /* of the ranges of its sides */
};

void wire_put_progress(struct wire_progress progress, struct buf *payload);
int wire_get_progress(struct reader *payload, struct wire_progress *ret_progress);

void wire_put_page(const struct wire_page *page, struct buf *payload);
int wire_get_page(struct reader *payload, struct wire_page *ret_page);

/*
 * ADMIN asks for a change in how the store is run, or for what there is to see of it: a method and
 * a body of text, answered by ADMIN_REPLY with another, or by STATUS. Which methods there are and
 * what their bodies say is in docs/formats/admin.md; here they are text.
 */
#define WIRE_ADMIN_METHOD_BYTES_MAX 63
#define WIRE_ADMIN_BODY_BYTES_MAX   (1u << 20)
#define WIRE_ADMIN_REPLY_BYTES_MAX  (3u << 20)

struct wire_admin {
	struct wire_text method;  /* "retention.set" */
	struct wire_text actor;   /* "user@host", as the sender says */
	struct wire_text request; /* id that the sender chose, for the audit log */
	const char *body;         /* JSON; borrowed, not zero-terminated */
	uint32_t body_count;
};

void wire_put_admin(const struct wire_admin *admin, struct buf *payload);
int wire_get_admin(struct reader *payload, struct wire_admin *ret_admin);

struct wire_admin_reply {
	const char *body;
	uint32_t body_count;
};

void wire_put_admin_reply(const struct wire_admin_reply *reply, struct buf *payload);
int wire_get_admin_reply(struct reader *payload, struct wire_admin_reply *ret_reply);

/* The shard of a series: by tenant and its label service; the same on every machine. */
uint16_t wire_shard(const char *tenant, const char *service, uint32_t shards);
