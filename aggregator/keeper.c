/*
 * The thread and its turns: what has expired is hidden, what was hidden long enough is erased, and
 * what stops that is found out. The time that was last seen is written every turn, beside the
 * monotonic clock and the boot it belongs to, so that a clock which jumped is noticed also over a
 * restart.
 */

#include "aggregator/keeper.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "aggregator/keeper_work.h"
#include "core/log.h"

/* After another boot only the calendar is left to compare: a machine may have been off for long. */
#define KEEPER_OFF_NS  (UINT64_C(30) * 86400 * NS_PER_S)
#define KEEPER_LATE_NS (60 * NS_PER_S)

const struct keeper_actor keeper_itself = { KEEPER_ACTOR, "", "" };

uint64_t keeper_now(struct keeper *keeper)
{
	return clock_unix_ns(keeper->options.clock);
}

/*
 * Documents that cannot be read are no reason to take no data: nothing is removed, and that is
 * said, until somebody sets policies and holds anew and confirms.
 */
static int keeper_load_nothing(struct keeper *keeper, const char *error)
{
	char why[KEEPER_ERROR_BYTES];
	snprintf(why, sizeof(why),
	        "policies or holds cannot be read%s%.200s; set them again, then confirm",
	        *error ? ": " : "", error);
	retention_set_free(keeper->set);
	retention_holds_free(keeper->holds);
	keeper->set = retention_set_new();
	keeper->holds = retention_holds_new();
	if (!keeper->set || !keeper->holds)
		return -ENOMEM;
	keeper->stop[0] = 0;
	keeper_set_stop(keeper, true, why);
	return 0;
}

/* ---- a turn ---- */

uint64_t keeper_leave(struct keeper *keeper)
{
	uint64_t changes = keeper->changes;
	if (keeper->has_turner && pthread_equal(keeper->turner, pthread_self()))
		(void)pthread_mutex_unlock(&keeper->lock);
	return changes;
}

bool keeper_return(struct keeper *keeper, uint64_t changes)
{
	if (keeper->has_turner && pthread_equal(keeper->turner, pthread_self()))
		(void)pthread_mutex_lock(&keeper->lock);
	return keeper->changes != changes;
}

struct plan_options keeper_plan_of(
        struct keeper *keeper, struct retention_set *const *set, uint64_t horizon_ns)
{
	return (struct plan_options){
		.store = keeper->options.store,
		.sets = (const struct retention_set *const *)set,
		.sets_count = 1,
		.holds = keeper->holds,
		.limits = &keeper->options.limits,
		.now_ns = keeper_now(keeper),
		.horizon_ns = horizon_ns,
	};
}

static bool keeper_is_much(const struct retention_plan *plan, char *ret_why, size_t why_bytes)
{
	if (plan->bytes_now > plan->bytes_visible / KEEPER_STOP_PART) {
		snprintf(ret_why, why_bytes,
		        "%" PRIu64 " of %" PRIu64 " bytes would go, which is more than a fifth",
		        plan->bytes_now, plan->bytes_visible);
		return true;
	}
	for (uint32_t i = 0; i < plan->tenants_count; i++) {
		const struct plan_tenant *tenant = &plan->tenants[i];
		if (tenant->bytes_now <= tenant->bytes / KEEPER_STOP_TENANT)
			continue;
		snprintf(ret_why, why_bytes,
		        "%" PRIu64 " of %" PRIu64 " bytes of tenant \"%s\" would go, which is more "
		        "than half",
		        tenant->bytes_now, tenant->bytes, tenant->name);
		return true;
	}
	return false;
}

bool keeper_is_too_much(const struct retention_plan *plan, struct keeper_confirmed confirmed,
        char *ret_why, size_t why_bytes)
{
	if (!keeper_is_much(plan, ret_why, why_bytes))
		return false;
	if (confirmed.windows == 0)
		return true;
	if (plan->bytes_now <= confirmed.bytes && plan->windows_now <= confirmed.windows)
		return false;
	size_t count = strlen(ret_why);
	snprintf(ret_why + count, why_bytes - count,
	        ", and %" PRIu64 " windows and %" PRIu64
	        " bytes were confirmed when the policies were set: since then it has become more",
	        confirmed.windows, confirmed.bytes);
	return true;
}

void keeper_set_stop(struct keeper *keeper, bool stays, const char *why)
{
	if (*keeper->stop)
		return;
	snprintf(keeper->stop, sizeof(keeper->stop), "%s", why);
	keeper->stop_stays = stays;
	keeper->stop_since_ns = keeper_now(keeper);
	log_error("retention-stopped",
	        "%s: nothing is removed until it is confirmed; see `profleet retention status`",
	        why);
	AUTO_BUF details = { 0 };
	struct json_writer json = json_writer_of(&details, false);
	json_object_begin(&json);
	json_key_text(&json, "why", why);
	json_object_end(&json);
	buf_put_u8(&details, 0);
	if (!details.failed)
		(void)keeper_write(keeper, NULL, 0, &keeper_itself, "retention.stop", 0,
		        (const char *)details.bytes); /* the next turn writes the state anyway */
}

static void keeper_check_clock(struct keeper *keeper)
{
	uint64_t now_ns = keeper_now(keeper);
	uint64_t mono_ns = clock_monotonic_ns(keeper->options.clock);
	uint64_t limit_ns = KEEPER_JUMP_NS, expected_ns = keeper->clock_unix_ns;
	char why[160];
	if (keeper->clock_mono_ns > 0 && mono_ns >= keeper->clock_mono_ns)
		expected_ns += mono_ns - keeper->clock_mono_ns;
	else if (now_ns > expected_ns)
		limit_ns = KEEPER_OFF_NS;
	uint64_t off_ns = now_ns > expected_ns ? now_ns - expected_ns : expected_ns - now_ns;
	if (keeper->clock_unix_ns > 0 && off_ns > limit_ns) {
		uint64_t off_s = off_ns / NS_PER_S;
		snprintf(why, sizeof(why), "the clock jumped %s by %" PRIu64 " h %" PRIu64 " min",
		        now_ns > expected_ns ? "forward" : "back", off_s / 3600, off_s % 3600 / 60);
		keeper->clock_unix_ns = now_ns;
		keeper->clock_mono_ns = mono_ns;
		keeper_set_stop(keeper, true, why);
	}
	keeper->clock_unix_ns = now_ns;
	keeper->clock_mono_ns = mono_ns;
}

/* Policies whose grace is over no longer keep anything. */
static int keeper_expire_pending(struct keeper *keeper)
{
	uint64_t now_ns = keeper_now(keeper);
	uint32_t kept = 0, before = keeper->pending_count;
	keeper_lock_words(keeper);
	for (uint32_t i = 0; i < before; i++) {
		if (keeper->pending[i].until_ns > now_ns)
			keeper->pending[kept++] = keeper->pending[i];
		else
			retention_set_free(keeper->pending[i].set);
	}
	keeper->pending_count = kept;
	keeper_unlock_words(keeper);
	if (kept == before)
		return 0;
	AUTO_BUF text = { 0 };
	keeper_put_pending(keeper->pending, keeper->pending_count, &text);
	struct audit_document document = { "pending", text.bytes, text.count };
	return text.failed ? -ENOMEM
	                   : keeper_write(keeper, &document, 1, &keeper_itself,
	                             "retention.in_force", 0, "{}");
}

static int keeper_enforce(struct keeper *keeper, const struct retention_plan *plan)
{
	char why[KEEPER_ERROR_BYTES];
	uint32_t count = retention_plan_items_count(plan);
	keeper->overdue_bytes = plan->bytes_now;
	keeper->held_bytes = plan->bytes_held;
	keeper->hidden_bytes = plan->bytes_hidden;
	if (keeper->paused_until_ns > keeper_now(keeper))
		return 0;
	if (*keeper->stop && keeper->stop_stays)
		return count > 0 ? -EAGAIN : 0;
	if (count > 0 && keeper_is_too_much(plan, keeper->confirmed, why, sizeof(why))) {
		keeper_set_stop(keeper, false, why);
		return -EAGAIN;
	}
	/* What was too much no longer is: policies or data changed. */
	keeper->stop[0] = 0;
	int r = 0;
	if (count > 0) {
		AUTO_BUF runs = { 0 };
		struct store_expired expired = { 0 };
		r = keeper_hide(keeper, plan, &keeper_itself, "retention.hide", &runs, &expired);
	}
	if (r == 0) {
		keeper->overdue_bytes = 0;
		if (count > 0)
			keeper_set_confirmed(keeper, (struct keeper_confirmed){ 0 });
		(void)keeper_part_mixed(keeper, plan);
	}
	return r;
}

/* What a plan names, for status: gone again once it is hidden. */
static void keeper_note_overdue(struct keeper *keeper, const struct retention_plan *plan)
{
	(void)pthread_mutex_lock(&keeper->state_lock);
	keeper->overdue_count = plan ? keeper_sum_policies(plan, keeper->overdue) : 0;
	(void)pthread_mutex_unlock(&keeper->state_lock);
}

/* Lets others in where it can. 1: policies or holds changed meanwhile, and it is of no use. */
static int keeper_make_plan(struct keeper *keeper, struct retention_plan *plan)
{
	AUTO_KEEPER_COPY copy = { 0 };
	int r = keeper_copy_take(keeper, &copy);
	if (r < 0)
		return r;
	struct plan_options options = keeper_copy_options(keeper, &copy, 0);
	uint64_t changes = keeper_leave(keeper);
	r = retention_plan_make(&options, plan);
	bool is_changed = keeper_return(keeper, changes);
	return r == 0 && is_changed ? 1 : r;
}

/* A ceiling ends what no policy speaks of. */
static bool keeper_has_ceiling(const struct keeper *keeper)
{
	const struct retention_limits *limits = &keeper->options.limits;
	for (int tier = 0; tier < RETENTION_TIERS; tier++)
		if (limits->general.ceiling.keep_ns[tier] != RETENTION_FOREVER)
			return true;
	return limits->tenants_count > 0;
}

static int keeper_evaluate(struct keeper *keeper)
{
	int r = 1;
	while (r == 1) {
		AUTO_RETENTION_PLAN plan = { 0 };
		if (keeper->set->count == 0 && keeper->holds->count == 0 &&
		        !keeper_has_ceiling(keeper)) {
			keeper->overdue_bytes = 0;
			keeper->held_bytes = 0;
			keeper_note_overdue(keeper, NULL);
			if (!keeper->stop_stays)
				keeper->stop[0] = 0;
			return 0;
		}
		r = keeper_make_plan(keeper, &plan);
		if (r != 0)
			continue;
		keeper_note_overdue(keeper, &plan);
		r = keeper_enforce(keeper, &plan);
		if (r == 0 && keeper->overdue_bytes == 0)
			keeper_note_overdue(keeper, NULL);
	}
	return r;
}

int keeper_turn(struct keeper *keeper)
{
	keeper->last_turn_ns = keeper_now(keeper);
	keeper_check_clock(keeper);
	int r = keeper_expire_pending(keeper);
	int enforced = r < 0 ? r : keeper_evaluate(keeper);
	r = keeper_erase_due(keeper);
	r = enforced < 0 ? enforced : r;
	if (r == 0) {
		keeper->last_success_ns = keeper_now(keeper);
		keeper->last_success_mono_ns = clock_monotonic_ns(keeper->options.clock);
		keeper->last_error[0] = 0;
	} else if (r != -EAGAIN) {
		char text[KEEPER_ERROR_BYTES] = "";
		store_read_error(keeper->options.store, text, sizeof(text));
		snprintf(keeper->last_error, sizeof(keeper->last_error), "%s%s%s", strerror(-r),
		        *text ? ": " : "", text);
		log_warn("retention-failed", "%s: it is tried again", keeper->last_error);
	}
	int written = keeper_write(keeper, NULL, 0, NULL, NULL, 0, NULL);
	keeper_publish(keeper);
	return r < 0 ? r : written;
}

/* ---- the thread ---- */

static void keeper_wait(struct keeper *keeper)
{
	struct timespec until;
	uint64_t every_ns = keeper->options.every_ns;
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(every_ns / NS_PER_S);
	until.tv_nsec += (long)(every_ns % NS_PER_S);
	if (until.tv_nsec >= (long)NS_PER_S) {
		until.tv_sec++;
		until.tv_nsec -= (long)NS_PER_S;
	}
	while (!keeper->is_stopping &&
	        pthread_cond_timedwait(&keeper->wake, &keeper->lock, &until) == 0)
		;
}

static void *keeper_run(void *owner)
{
	struct keeper *keeper = owner;
	(void)pthread_mutex_lock(&keeper->lock);
	keeper->turner = pthread_self();
	keeper->has_turner = true;
	for (;;) {
		keeper_wait(keeper);
		if (keeper->is_stopping)
			break;
		(void)keeper_turn(keeper); /* said in the log and the state */
	}
	(void)pthread_mutex_unlock(&keeper->lock);
	return NULL;
}

int keeper_new(struct keeper_options options, struct keeper **ret_keeper, char *ret_error,
        size_t error_bytes)
{
	AUTO(keeper) keeper = calloc(1, sizeof(*keeper));
	pthread_condattr_t attributes;
	snprintf(ret_error, error_bytes, "%s", "");
	if (!keeper)
		return -ENOMEM;
	keeper->options = options;
	keeper->started_mono_ns = clock_monotonic_ns(options.clock);
	(void)pthread_mutex_init(&keeper->lock, NULL);
	(void)pthread_mutex_init(&keeper->words_lock, NULL);
	(void)pthread_mutex_init(&keeper->state_lock, NULL);
	(void)pthread_mutex_init(&keeper->classes_lock, NULL);
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&keeper->wake, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	int r = keeper_load(keeper, ret_error, error_bytes);
	if (r == -EBADMSG || r == -EINVAL || r == -EIO || r == -EPROTONOSUPPORT)
		r = keeper_load_nothing(keeper, ret_error);
	if (r == 0)
		r = keeper_set_classes(keeper);
	if (r < 0) {
		if (!*ret_error)
			snprintf(ret_error, error_bytes, "%s", strerror(-r));
		return r;
	}
	keeper_publish(keeper);
	*ret_keeper = TAKE(keeper);
	return 0;
}

int keeper_start(struct keeper *keeper)
{
	int r = pthread_create(&keeper->thread, NULL, keeper_run, keeper);
	keeper->is_started = r == 0;
	return -r;
}

void keeper_free(struct keeper *keeper)
{
	if (!keeper)
		return;
	__atomic_store_n(&keeper->is_cancelled, true, __ATOMIC_RELAXED);
	(void)pthread_mutex_lock(&keeper->lock);
	keeper->is_stopping = true;
	(void)pthread_cond_signal(&keeper->wake);
	(void)pthread_mutex_unlock(&keeper->lock);
	if (keeper->is_started)
		(void)pthread_join(keeper->thread, NULL);
	store_set_classify(keeper->options.store, NULL, NULL);
	store_set_has_expired(keeper->options.store, NULL, NULL);
	keeper_drop_all_pending(keeper);
	for (uint32_t i = 0; i < KEEPER_PLANS_MAX; i++)
		retention_set_free(keeper->plans[i].proposed);
	retention_set_free(keeper->set);
	retention_set_free(keeper->classes_set);
	retention_holds_free(keeper->holds);
	(void)pthread_cond_destroy(&keeper->wake);
	(void)pthread_mutex_destroy(&keeper->classes_lock);
	(void)pthread_mutex_destroy(&keeper->state_lock);
	(void)pthread_mutex_destroy(&keeper->words_lock);
	(void)pthread_mutex_destroy(&keeper->lock);
	free(keeper);
}

/* ---- for others ---- */

void keeper_publish(struct keeper *keeper)
{
	struct keeper_state state = {
		.policies = keeper->set->count,
		.last_success_ns = keeper->last_success_ns,
		.overdue_bytes = keeper->overdue_bytes,
		.hold_bytes = keeper->held_bytes,
		.hidden_bytes = keeper->hidden_bytes,
		.is_stopped = *keeper->stop,
		.last_turn_ns = keeper->last_turn_ns,
		.stop_since_ns = keeper->stop_since_ns,
		.paused_until_ns = keeper->paused_until_ns,
		.pending_count = keeper->pending_count,
	};
	memcpy(state.last_error, keeper->last_error, sizeof(state.last_error));
	memcpy(state.stop, keeper->stop, sizeof(state.stop));
	for (uint32_t i = 0; i < keeper->pending_count; i++)
		state.pending_until_ns[i] = keeper->pending[i].until_ns;
	keeper_set_decides(keeper);
	(void)pthread_mutex_lock(&keeper->state_lock);
	keeper->state = state;
	keeper->state_success_mono_ns = keeper->last_success_mono_ns;
	(void)pthread_mutex_unlock(&keeper->state_lock);
}

struct keeper_state keeper_state(struct keeper *keeper)
{
	uint64_t now_ns = clock_monotonic_ns(keeper->options.clock);
	(void)pthread_mutex_lock(&keeper->state_lock);
	struct keeper_state state = keeper->state;
	uint64_t since_ns = keeper->state_success_mono_ns > 0 ? keeper->state_success_mono_ns
	                                                      : keeper->started_mono_ns;
	(void)pthread_mutex_unlock(&keeper->state_lock);
	state.is_late = state.policies > 0 &&
	                now_ns - since_ns > 2 * keeper->options.every_ns + KEEPER_LATE_NS;
	return state;
}

void keeper_deleted(struct keeper *keeper, keeper_visit_bytes visit, void *owner)
{
	(void)pthread_mutex_lock(&keeper->state_lock);
	for (uint32_t i = 0; i < keeper->deleted_count; i++)
		visit(owner, keeper->deleted[i].policy, keeper->deleted[i].bytes);
	(void)pthread_mutex_unlock(&keeper->state_lock);
}

void keeper_overdue(struct keeper *keeper, keeper_visit_bytes visit, void *owner)
{
	(void)pthread_mutex_lock(&keeper->state_lock);
	for (uint32_t i = 0; i < keeper->overdue_count; i++)
		visit(owner, keeper->overdue[i].policy, keeper->overdue[i].bytes);
	(void)pthread_mutex_unlock(&keeper->state_lock);
}
