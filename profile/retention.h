#pragma once

/*
 * retention says how long what is kept, and why: policies and holds, and what they mean for one
 * series. Pure: it reads texts and answers questions; the store is told by others what to do.
 *
 *	policies:
 *	  - name: cart
 *	    selector: cpu{service="cart",version=~"1\\..*"}
 *	    priority: 10
 *	    tiers: { detail: 7d, 10m: 30d, 1h: 400d, 1d: forever }
 *	    reason: the cart team compares releases for a month
 *
 * A matcher of `tenant` is about the store's tenant, which is no label:
 * {tenant="acme",service="cart"}.
 *
 * Precedence: hold, then the highest priority, then the longest, tier by tier among equals: a
 * profile deleted by mistake cannot be made again, one kept by mistake costs bytes. What no policy
 * matches is kept for ever, and so is a tier that a policy does not name. Limits of the server, in
 * general and of single tenants, clamp what policies say, but no hold. "0" keeps nothing of a tier.
 * A coarser tier lasts at least as long as a finer one.
 *
 * The text is YAML; the canonical form is JSON, which is YAML too, so there is one reader.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "core/buf.h"
#include "core/json.h"
#include "profile/dict.h"
#include "profile/selector.h"

#define RETENTION_POLICIES_MAX   256
#define RETENTION_HOLDS_MAX      256
#define RETENTION_NAME_BYTES_MAX 63
#define RETENTION_TEXT_BYTES_MAX 1024 /* of a reason or an author */
#define RETENTION_PRIORITY_MAX   1000000
#define RETENTION_FOREVER        UINT64_MAX

/* From fine to coarse. */
enum retention_tier {
	RETENTION_DETAIL, /* rows as they came, with every label */
	RETENTION_10M,    /* sums of ten minutes by version, region and 16 buckets of instances */
	RETENTION_1H,
	RETENTION_1D,
	RETENTION_TIERS,
};

const char *retention_tier_name(enum retention_tier tier); /* "detail", "10m", "1h", "1d" */

struct retention_tiers {
	uint64_t keep_ns[RETENTION_TIERS]; /* after the end of a window; RETENTION_FOREVER */
};

/* "7d", "forever", "0". -EINVAL. */
int retention_parse_keep(const char *text, uint64_t *ret_keep_ns);
void retention_put_keep(struct buf *to, uint64_t keep_ns);

/*
 * Tiers of one line, as the server's limits are written: "detail=7d,1d=400d", or "30d" for all.
 * What is not named stays as it is in *tiers. -EINVAL with a message.
 */
int retention_parse_tiers(
        const char *text, struct retention_tiers *tiers, char *ret_error, size_t error_bytes);

struct retention_policy {
	char name[RETENTION_NAME_BYTES_MAX + 1];
	struct selector *selector;
	char *selector_text; /* in normal form, the type included */
	uint32_t priority;
	struct retention_tiers tiers;
	char *created_by; /* "" where not said */
	char *reason;
	uint64_t created_ns; /* unix; 0 where not said */
};

/* Sorted by name. */
struct retention_set {
	struct retention_policy *policies;
	uint32_t count;
};

void retention_set_free(struct retention_set *set);
DEFINE_AUTO(retention_set);
struct retention_set *retention_set_new(void); /* empty; NULL when out of memory */

/*
 * Reads `policies:` (a list), or one policy alone. -EINVAL with "FILE:LINE: policy NAME: KEY: what
 * is wrong; what to write". -ENOMEM.
 */
int retention_parse(const char *file, const char *text, size_t count,
        struct retention_set **ret_set, char *ret_error, size_t error_bytes);

const struct retention_policy *retention_find(const struct retention_set *set, const char *name);

/* `base` with every policy of `over` put in or in place of its namesake. -ENOSPC: too many. */
int retention_merge(const struct retention_set *base, const struct retention_set *over,
        struct retention_set **ret_set);
/* Without the policy of this name. -ENOENT. */
int retention_remove(
        const struct retention_set *base, const char *name, struct retention_set **ret_set);
/* Says of every policy that does not say so itself who made it, and when. -ENOMEM. */
int retention_sign(struct retention_set *set, const char *created_by, uint64_t created_ns);

/* {"policies":[...]}: the same bytes for the same set. */
void retention_put_json(const struct retention_set *set, struct json_writer *json);
void retention_put_policy_json(const struct retention_policy *policy, struct json_writer *json);

/* Of the canonical text, in hex. */
#define RETENTION_DIGEST_BYTES 65
int retention_digest(const struct retention_set *set, char ret_hex[RETENTION_DIGEST_BYTES]);

/* ---- holds ---- */

struct retention_hold {
	char id[RETENTION_NAME_BYTES_MAX + 1];
	struct selector *selector;
	char *selector_text;
	uint64_t from_ns, to_ns; /* what it holds: windows that overlap [from, to) */
	uint64_t until_ns;       /* when it ends by itself; RETENTION_FOREVER */
	char *created_by;
	char *reason;
	uint64_t created_ns;
};

struct retention_holds {
	struct retention_hold *holds;
	uint32_t count;
};

void retention_holds_free(struct retention_holds *holds);
DEFINE_AUTO(retention_holds);
struct retention_holds *retention_holds_new(void);

/* Reads `holds:` (a list). As retention_parse(). */
int retention_holds_parse(const char *file, const char *text, size_t count,
        struct retention_holds **ret_holds, char *ret_error, size_t error_bytes);
const struct retention_hold *retention_hold_find(
        const struct retention_holds *holds, const char *id);
/*
 * A hold to the others; takes `hold` over when it succeeds. -EEXIST, -ENOSPC, -ENOMEM. `selector`
 * and selector_text of `hold` are made from the text given. -EINVAL with a message.
 */
int retention_hold_add(struct retention_holds *holds, const struct retention_hold *hold,
        const char *selector, char *ret_error, size_t error_bytes);
/* -ENOENT. */
int retention_hold_remove(struct retention_holds *holds, const char *id);
void retention_holds_put_json(const struct retention_holds *holds, struct json_writer *json);
void retention_put_hold_json(const struct retention_hold *hold, struct json_writer *json);

/* Who is spoken of: one series of a tenant. */
struct retention_subject {
	const char *tenant; /* "" is one as any other */
	const struct dict *dict;
	uint32_t series;
};

/* Does it protect this series in a window of [from, to), now? */
bool retention_hold_covers(const struct retention_hold *hold, struct retention_subject subject,
        uint64_t from_ns, uint64_t to_ns, uint64_t now_ns);
/* Of all series of which so much is known. */
enum selector_answer retention_hold_judge(const struct retention_hold *hold,
        struct selector_known known, uint64_t from_ns, uint64_t to_ns, uint64_t now_ns);
/* Does any hold cover them? SELECTOR_ALL: one has all of them. */
enum selector_answer retention_holds_judge(const struct retention_holds *holds,
        struct selector_known known, uint64_t from_ns, uint64_t to_ns, uint64_t now_ns);
/* The first that does, or NULL. */
const struct retention_hold *retention_held_by(const struct retention_holds *holds,
        struct retention_subject subject, uint64_t from_ns, uint64_t to_ns, uint64_t now_ns);

/* ---- what the server clamps ---- */

#define RETENTION_TENANTS_MAX 256 /* that have limits of their own */

struct retention_bounds {
	struct retention_tiers floor;   /* zeroes: none */
	struct retention_tiers ceiling; /* RETENTION_FOREVER: none */
};

struct retention_tenant_bounds {
	char tenant[RETENTION_NAME_BYTES_MAX + 1];
	struct retention_bounds bounds;
};

struct retention_limits {
	struct retention_bounds general; /* of every tenant that is not named */
	struct retention_tenant_bounds *tenants;
	uint32_t tenants_count;
};

extern const struct retention_limits retention_limits_none;
void retention_limits_fini(struct retention_limits *limits);

/*
 * The server's options: "detail=1d" for everybody, and behind semicolons for single tenants, who
 * have the general ones where they have none of their own: "detail=1d; acme: detail=30d,1d=400d".
 * NULL says nothing. Into zeroed limits. -EINVAL with a message that begins with the option;
 * -ENOMEM.
 */
int retention_limits_parse(const char *floor, const char *ceiling, struct retention_limits *limits,
        char *ret_error, size_t error_bytes);

const struct retention_bounds *retention_limits_of(
        const struct retention_limits *limits, const char *tenant);

/* ---- what a set says of one series ---- */

enum retention_clamp { RETENTION_AS_SAID, RETENTION_RAISED, RETENTION_LOWERED };

#define RETENTION_NO_POLICY UINT32_MAX

struct retention_outcome {
	struct retention_tiers keep;        /* after the clamps */
	uint32_t policies[RETENTION_TIERS]; /* whose tier it is, or RETENTION_NO_POLICY */
	enum retention_clamp clamps[RETENTION_TIERS];
};

/* `set` NULL is an empty one. */
struct retention_outcome retention_evaluate(const struct retention_set *set,
        const struct retention_limits *limits, struct retention_subject subject);

/* What is kept longer by either of two: while a shortened rule is not in force yet. */
struct retention_outcome retention_longest(
        const struct retention_outcome *a, const struct retention_outcome *b);

/* When a tier of a window that ends at `to_ns` has expired; RETENTION_FOREVER. */
uint64_t retention_expires_ns(
        const struct retention_outcome *outcome, enum retention_tier tier, uint64_t to_ns);

enum retention_verdict {
	RETENTION_WINS,      /* every tier is this policy's */
	RETENTION_WINS_SOME, /* shares the priority with another and is longer at some tiers */
	RETENTION_SHORTER,   /* matches at the winning priority, and is longer at no tier */
	RETENTION_LOWER,     /* matches; another has a higher priority */
	RETENTION_NO_MATCH,  /* the selector does not match */
};

struct retention_reason {
	enum retention_verdict verdict;
	/* RETENTION_NO_MATCH: which matcher, or SELECTOR_WRONG_TYPE. */
	uint32_t matcher;
};

/* Why one policy of the set won or lost. */
struct retention_reason retention_explain(const struct retention_set *set, uint32_t policy,
        struct retention_subject subject, const struct retention_outcome *outcome);

/* The reason as a sentence: `lower priority than "x"`, `version="2.0" is not =~"1\\..*"`. */
void retention_put_reason(const struct retention_set *set, uint32_t policy,
        struct retention_subject subject, const struct retention_outcome *outcome,
        struct retention_reason reason, struct buf *to);
