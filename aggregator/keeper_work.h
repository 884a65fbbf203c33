#pragma once

/* What a keeper holds and can do, for its own files, administration, and their tests. */

#include <pthread.h>

#include "aggregator/keeper.h"
#include "aggregator/retention_plan.h"
#include "core/config.h"
#include "storage/audit.h"
#include "storage/store_expire.h"

#define KEEPER_PLANS_MAX   16
#define KEEPER_DELETED_MAX (RETENTION_POLICIES_MAX + 64)
#define KEEPER_ITEMS_MAX   100000 /* of one run: its document stays small */
#define KEEPER_STOP_PART   5      /* more than a fifth of the bytes */
#define KEEPER_STOP_TENANT 2      /* more than half of a tenant's */
#define KEEPER_JUMP_NS     (3600 * NS_PER_S)
#define KEEPER_ACTOR       "profleet-aggregator"

/* Policies as they were before a change, kept in force until its grace ends. */
struct keeper_pending {
	uint64_t until_ns;
	struct retention_set *set; /* empty: there were none, so everything was kept */
};

/* A plan that was shown: what apply needs to know that it is still the same. */
struct keeper_plan {
	char id[PLAN_ID_BYTES];
	struct retention_set *proposed; /* NULL: the policies in force */
	char base[RETENTION_DIGEST_BYTES];
	uint64_t at_ns;
};

/*
 * What somebody was told would go by the policies in force, and confirmed with them: so much of it
 * is no reason to stop. 0: nothing.
 */
struct keeper_confirmed {
	uint64_t windows, bytes;
};

/* What a policy deleted, or should have. */
struct keeper_bytes {
	char policy[RETENTION_NAME_BYTES_MAX + 1];
	uint64_t bytes;
};

/* Who asks, for the log. */
struct keeper_actor {
	const char *actor;
	const char *origin;
	const char *request;
};

struct keeper {
	struct keeper_options options;
	/*
	 * Of everything below, but words and classes: held by a change from its beginning to its
	 * end, and by a turn, which leaves it while the store works (keeper_leave).
	 */
	pthread_mutex_t lock;
	pthread_t turner; /* the thread of turns */
	bool has_turner;
	uint64_t changes; /* of policies, holds and pauses */

	/*
	 * Policies, holds and plans are changed with both locks held and read with either: who only
	 * asks takes a copy under this one, and waits for no deed.
	 */
	pthread_mutex_t words_lock;
	struct retention_set *set;
	struct keeper_pending pending[KEEPER_PENDING_MAX];
	uint32_t pending_count;
	struct retention_holds *holds;
	struct keeper_confirmed confirmed; /* of `set`; gone with it, and once it was done */
	struct keeper_plan plans[KEEPER_PLANS_MAX]; /* a ring; of words_lock alone */
	uint32_t plans_next;

	uint64_t last_id; /* of a run */

	uint64_t last_turn_ns;
	uint64_t last_success_ns;      /* unix */
	uint64_t last_success_mono_ns; /* 0: since the start of this process */
	uint64_t started_mono_ns;
	char last_error[KEEPER_ERROR_BYTES];
	char stop[KEEPER_ERROR_BYTES]; /* why nothing is hidden; "": nothing stops */
	uint64_t stop_since_ns;
	bool stop_stays; /* until it is confirmed: a clock that jumped, documents that were damaged
	                  */
	uint64_t paused_until_ns; /* by an undo */
	uint64_t overdue_bytes;
	uint64_t held_bytes;
	uint64_t hidden_bytes;
	uint64_t clock_unix_ns; /* last seen */
	uint64_t clock_mono_ns;
	char boot[64];

	/* What others may read while a turn holds the lock: published at its end. */
	pthread_mutex_t state_lock;
	struct keeper_state state;
	uint64_t state_success_mono_ns;
	struct keeper_bytes deleted[KEEPER_DELETED_MAX];
	uint32_t deleted_count;
	struct keeper_bytes overdue[RETENTION_POLICIES_MAX + 1];
	uint32_t overdue_count;

	/* For the sealer, which asks inside the store: never held while the store is called. */
	pthread_mutex_t classes_lock;
	struct retention_set *classes_set;
	bool classes_decide; /* nothing else keeps anything: no hold, no grace */
	struct retention_tiers classes[STORE_CLASS_COUNT_MAX];
	uint32_t classes_count;

	pthread_t thread;
	bool is_started;
	pthread_cond_t wake;
	bool is_stopping;
	bool is_cancelled; /* polled by the store */
};

uint64_t keeper_now(struct keeper *keeper);

/*
 * Documents, from the store. On failure ret_error says which cannot be read, and some of it is in
 * the keeper.
 */
int keeper_load(struct keeper *keeper, char *ret_error, size_t error_bytes);
void keeper_put_pending(const struct keeper_pending *pending, uint32_t count, struct buf *to);

/* All below: under the lock. Errors are said in keeper->last_error or ret_error. */

/* Words are changed in between: others see all of a change or nothing of it. */
void keeper_lock_words(struct keeper *keeper);
void keeper_unlock_words(struct keeper *keeper);
void keeper_drop_all_pending(struct keeper *keeper);

/* From now on units are made for the policies as they are. -ENOMEM. */
int keeper_set_classes(struct keeper *keeper);
/* After holds, graces, a stop or a pause changed. */
void keeper_set_decides(struct keeper *keeper);

/*
 * While the store works for a turn, others may change policies and holds. Does nothing for a
 * change, which is whole or not at all. keeper_return() says whether anything changed meanwhile.
 */
uint64_t keeper_leave(struct keeper *keeper);
bool keeper_return(struct keeper *keeper, uint64_t changes);

/* Of one set alone, whatever a grace still keeps. */
struct plan_options keeper_plan_of(
        struct keeper *keeper, struct retention_set *const *set, uint64_t horizon_ns);

/* Policies and holds as they are, to be evaluated without any lock. */
struct keeper_copy {
	struct retention_set *sets[KEEPER_PENDING_MAX + 1]; /* the first is in force */
	uint32_t sets_count;
	struct retention_holds *holds;
	struct keeper_confirmed confirmed;
};
#define AUTO_KEEPER_COPY __attribute__((cleanup(keeper_copy_fini))) struct keeper_copy

/* Without the lock, or with it. -ENOMEM. */
int keeper_copy_take(struct keeper *keeper, struct keeper_copy *ret_copy);
void keeper_copy_fini(struct keeper_copy *copy);
/* As a turn sees it: what a grace still keeps is kept. */
struct plan_options keeper_copy_options(
        struct keeper *keeper, const struct keeper_copy *copy, uint64_t horizon_ns);
/* Of one set alone, one of the copy's or another. */
struct plan_options keeper_copy_plan_of(struct keeper *keeper, const struct keeper_copy *copy,
        struct retention_set *const *set, uint64_t horizon_ns);
int keeper_copy_holds(const struct keeper *keeper, struct retention_holds **ret_holds);

/*
 * Takes the set into force; with `grace` what the one before keeps longer stays kept until it is
 * over, else nothing of before does. Writes documents and record. -E2BIG: too many changes within
 * the grace. -EFBIG: more text than can be read again. -ENOSPC: the disk.
 */
int keeper_set_policies(struct keeper *keeper, struct retention_set *set, bool grace,
        const struct keeper_actor *by, const char *action, uint64_t bytes, const char *details);

/* Takes the holds when it returns 0. -EFBIG: more than can be read again. -ENOSPC, -ENOMEM, -EIO.
 */
int keeper_set_holds(struct keeper *keeper, struct retention_holds *holds,
        const struct keeper_actor *by, const char *action, const char *details);

/*
 * What a plan hides, as one or more runs. *ret_runs gets their ids (u64). 1: in a turn, while the
 * store was waited for, policies or holds changed; what was hidden is back.
 */
int keeper_hide(struct keeper *keeper, const struct retention_plan *plan,
        const struct keeper_actor *by, const char *action, struct buf *ret_runs,
        struct store_expired *ret_expired);

/* What goes now by each policy that anything goes by. Returns how many there are. */
uint32_t keeper_sum_policies(const struct retention_plan *plan,
        struct keeper_bytes ret_sums[RETENTION_POLICIES_MAX + 1]);

/* One run's to that of others. */
void keeper_add_expired(struct store_expired *sum, const struct store_expired *one);

/* A new id of a run, greater than all before. */
uint64_t keeper_run_id(struct keeper *keeper);

/* Why a plan is too much, or false. */
bool keeper_is_too_much(const struct retention_plan *plan, struct keeper_confirmed confirmed,
        char *ret_why, size_t why_bytes);

/* Ends a stop; `by` said so. */
int keeper_confirm(struct keeper *keeper, const struct keeper_actor *by);
/*
 * Who set the policies in force has confirmed what goes by them: a stop because it is too much
 * ends, one that stays does not.
 */
int keeper_confirm_set(
        struct keeper *keeper, struct keeper_confirmed confirmed, const struct keeper_actor *by);
void keeper_set_confirmed(struct keeper *keeper, struct keeper_confirmed confirmed);

/* All of a run: what store_undo() says, and then a record of it in the log. */
int keeper_undo(struct keeper *keeper, uint64_t run, const struct keeper_actor *by,
        struct store_expired *ret_back);

/* Of some of it; `selector` is for the log. What the run goes on to hide is counted as its. */
int keeper_undo_some(struct keeper *keeper, uint64_t run, struct store_undo_options options,
        const char *selector, const struct keeper_actor *by, struct store_expired *ret_back,
        struct store_expired *ret_left);

/*
 * Undoes every run that hides anything of a hold. Counts them.
 */
int keeper_rescue(struct keeper *keeper, const struct keeper_actor *by, uint32_t *ret_rescued);

/* What a run's document says: kind, actor, and of a deletion on request its selector. */
struct keeper_run {
	char kind[24]; /* "policies", "apply", "forget" */
	char actor[128];
	struct config *config; /* the document's head, or NULL */
	struct buf text;
};
void keeper_run_fini(struct keeper_run *run);
/* The caller ends it. -ENOENT: no such run. -EBADMSG: its document cannot be read. */
int keeper_run_get(struct keeper *keeper, uint64_t id, struct keeper_run *ret_run);

/* Parts units of windows that hold series of several policies. Returns how many were parted. */
uint32_t keeper_part_mixed(struct keeper *keeper, const struct retention_plan *plan);

/* One record of the log and the state, in one write. */
int keeper_write(struct keeper *keeper, const struct audit_document *documents, uint32_t count,
        const struct keeper_actor *by, const char *action, uint64_t bytes, const char *details);

/* Erases the runs that are due, unless a hold came in time. */
int keeper_erase_due(struct keeper *keeper);

/* Everything that a turn does; publishes the state. */
int keeper_turn(struct keeper *keeper);
void keeper_publish(struct keeper *keeper);

/* Why nothing goes until somebody confirms. */
void keeper_set_stop(struct keeper *keeper, bool stays, const char *why);

extern const struct keeper_actor keeper_itself;
