/*
 * retention.plan and apply, status. A plan is bound to what it was made of: its id is a
 * digest of the policies and of every part it names. apply makes it again, as of the moment it was
 * shown, and refuses when it has become another.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/admin_call.h"

#define PLAN_HORIZON_NS (UINT64_C(30) * 86400 * NS_PER_S)
#define PLAN_GOOD_NS    (3600 * NS_PER_S)
#define PLAN_ROWS_MAX   3000 /* in one answer, with as many comparisons */
#define HOLD_WARNING_NS (UINT64_C(7) * 86400 * NS_PER_S)

/* What can no longer be asked once a tier is gone. */
#define PLAN_LOSS_DETAIL                                                                           \
	"comparisons by version or region keep their spread over 16 buckets of instances; by "     \
	"other labels, and of single instances, they lose their significance"

static const char *const plan_losses[RETENTION_TIERS] = {
	[RETENTION_DETAIL] = PLAN_LOSS_DETAIL,
	[RETENTION_10M] = "ranges begin and end at whole hours",
	[RETENTION_1H] = "ranges begin and end at whole days",
	[RETENTION_1D] = "nothing is left to compare",
};

static void plan_put_row(const struct plan_row *row, struct json_writer *json)
{
	json_object_begin(json);
	json_key_text(json, "policy", row->policy);
	json_key_text(json, "tenant", row->tenant);
	json_key_text(json, "service", row->service);
	json_key_text(json, "tier", retention_tier_name(row->tier));
	json_key_u64(json, "windows_now", row->windows_now);
	json_key_u64(json, "series", row->series);
	json_key_u64(json, "rows_now", row->rows_now);
	json_key_u64(json, "bytes_now", row->bytes_now);
	json_key_u64(json, "windows_later", row->windows_later);
	json_key_u64(json, "rows_later", row->rows_later);
	json_key_u64(json, "bytes_later", row->bytes_later);
	json_key_u64(json, "oldest_ns", row->oldest_ns);
	json_key_u64(json, "newest_ns",
	        row->newest_ns > row->newest_later_ns ? row->newest_ns : row->newest_later_ns);
	json_object_end(json);
}

/* From when on back what is no longer there to compare, now and at the end of the horizon. */
static void plan_put_comparison(const struct plan_row *row, struct json_writer *json)
{
	json_object_begin(json);
	json_key_text(json, "policy", row->policy);
	json_key_text(json, "tenant", row->tenant);
	json_key_text(json, "service", row->service);
	json_key_text(json, "tier", retention_tier_name(row->tier));
	if (row->newest_ns > 0)
		json_key_u64(json, "before_ns", row->newest_ns);
	if (row->newest_later_ns > 0)
		json_key_u64(json, "before_later_ns", row->newest_later_ns);
	json_key_text(json, "loss", plan_losses[row->is_last ? RETENTION_1D : row->tier]);
	json_object_end(json);
}

/* Where nothing at all is left of as much, the finer losses need not be said. */
static bool plan_says_more(const struct retention_plan *plan, const struct plan_row *row)
{
	for (uint32_t i = 0; i < plan->rows_count; i++) {
		const struct plan_row *other = &plan->rows[i];
		if (other != row && other->is_last && other->tier > row->tier &&
		        other->newest_ns >= row->newest_ns &&
		        other->newest_later_ns >= row->newest_later_ns &&
		        strcmp(other->service, row->service) == 0 &&
		        strcmp(other->policy, row->policy) == 0 &&
		        strcmp(other->tenant, row->tenant) == 0)
			return true;
	}
	return false;
}

static int plan_compare_rows(const void *a, const void *b)
{
	const struct plan_row *left = a, *right = b;
	uint64_t of_left = left->bytes_now + left->bytes_later;
	uint64_t of_right = right->bytes_now + right->bytes_later;
	return of_left < of_right ? 1 : of_left > of_right ? -1 : 0;
}

/* The greatest rows first: as many as were asked for, and as fit into one answer. */
static void plan_put_rows(struct retention_plan *plan, uint64_t limit, struct json_writer *json)
{
	uint32_t shown = plan->rows_count < PLAN_ROWS_MAX ? plan->rows_count : PLAN_ROWS_MAX;
	if (limit > 0 && limit < shown)
		shown = (uint32_t)limit;
	if (plan->rows_count > 1)
		qsort(plan->rows, plan->rows_count, sizeof(*plan->rows), plan_compare_rows);
	json_key(json, "rows");
	json_array_begin(json);
	for (uint32_t i = 0; i < shown; i++)
		plan_put_row(&plan->rows[i], json);
	json_array_end(json);
	json_key_u64(json, "rows_count", plan->rows_count);
	json_key(json, "comparisons");
	json_array_begin(json);
	for (uint32_t i = 0; i < shown; i++)
		if (!plan_says_more(plan, &plan->rows[i]))
			plan_put_comparison(&plan->rows[i], json);
	json_array_end(json);
}

static void plan_put(struct retention_plan *plan, uint64_t limit, struct json_writer *json)
{
	static const struct {
		const char *key;
		size_t offset;
	} totals[] = {
		{ "windows_now", offsetof(struct retention_plan, windows_now) },
		{ "rows_now", offsetof(struct retention_plan, rows_now) },
		{ "bytes_now", offsetof(struct retention_plan, bytes_now) },
		{ "bytes_later", offsetof(struct retention_plan, bytes_later) },
		{ "bytes_visible", offsetof(struct retention_plan, bytes_visible) },
		{ "bytes_hidden", offsetof(struct retention_plan, bytes_hidden) },
		{ "bytes_held", offsetof(struct retention_plan, bytes_held) },
		{ "bytes_waiting_for_rollup", offsetof(struct retention_plan, bytes_waiting) },
		{ "bytes_mixed", offsetof(struct retention_plan, bytes_mixed) },
		{ "units_unreadable", offsetof(struct retention_plan, units_unreadable) },
	};
	plan_put_rows(plan, limit, json);
	for (size_t i = 0; i < COUNT_OF(totals); i++) {
		uint64_t value;
		memcpy(&value, (const char *)plan + totals[i].offset, sizeof(value));
		json_key_u64(json, totals[i].key, value);
	}
}

/* The set that a plan proposes, over those in force; NULL text: those in force. */
static int plan_proposed(struct admin_call *call, const struct retention_set *in_force,
        const char *text, struct retention_set **ret_proposed)
{
	const char *file = json_body_text(call->body, "file");
	AUTO(retention_set) over = NULL;
	int r = retention_parse(*file ? file : "policies", text, strlen(text), &over, call->error,
	        sizeof(call->error));
	if (r < 0) {
		call->status = r == -ENOMEM ? WIRE_FAILED : WIRE_INVALID;
		return r;
	}
	r = admin_refuse_reserved(call, over);
	if (r < 0)
		return r;
	r = retention_sign(over, call->by.actor, keeper_now(call->keeper));
	return r < 0 ? r : retention_merge(in_force, over, ret_proposed);
}

static void plan_drop(struct keeper_plan *plan)
{
	retention_set_free(plan->proposed);
	*plan = (struct keeper_plan){ 0 };
}

/* Keeps what apply needs; the oldest plan goes. */
static int plan_keep(struct keeper *keeper, const struct retention_set *in_force, const char *id,
        struct retention_set **proposed, uint64_t at_ns)
{
	struct keeper_plan kept = { .at_ns = at_ns };
	int r = retention_digest(in_force, kept.base);
	if (r < 0)
		return r;
	snprintf(kept.id, sizeof(kept.id), "%s", id);
	kept.proposed = TAKE(*proposed);
	(void)pthread_mutex_lock(&keeper->words_lock);
	struct keeper_plan *place = &keeper->plans[keeper->plans_next++ % KEEPER_PLANS_MAX];
	plan_drop(place);
	*place = kept;
	(void)pthread_mutex_unlock(&keeper->words_lock);
	return 0;
}

/* A plan is what policies say, not what a grace still keeps. */
static int plan_again(struct admin_call *call, struct plan_options options, uint64_t at_ns,
        struct retention_plan *plan)
{
	options.now_ns = at_ns;
	options.pass = admin_pass(call);
	return retention_plan_make(&options, plan);
}

int admin_retention_plan(struct admin_call *call)
{
	struct keeper *keeper = call->keeper;
	const char *text = json_body_text(call->body, "text");
	uint64_t horizon_ns = json_body_u64(call->body, "horizon_ns", PLAN_HORIZON_NS);
	uint64_t at_ns = keeper_now(keeper);
	char id[PLAN_ID_BYTES], why[KEEPER_ERROR_BYTES] = "";
	AUTO_KEEPER_COPY copy = { 0 };
	AUTO(retention_set) proposed = NULL;
	AUTO_RETENTION_PLAN plan = { 0 };
	int r = keeper_copy_take(keeper, &copy);
	if (r == 0 && *text)
		r = plan_proposed(call, copy.sets[0], text, &proposed);
	if (r < 0)
		return r;
	struct retention_set *set = proposed ? proposed : copy.sets[0];
	r = plan_again(call, keeper_copy_plan_of(keeper, &copy, &set, horizon_ns), at_ns, &plan);
	if (r == 0)
		r = retention_plan_id(&plan, set, id);
	if (r < 0)
		return admin_failed(call, "reading the inventory", r);
	struct keeper_state state = keeper_state(keeper);
	/* Other policies than those in force are confirmed by nobody yet. */
	struct keeper_confirmed confirmed = { 0 };
	if (!proposed)
		confirmed = copy.confirmed;
	bool is_stopped = keeper_is_too_much(&plan, confirmed, why, sizeof(why));
	if (!is_stopped && state.is_stopped) {
		is_stopped = true;
		snprintf(why, sizeof(why), "%s", state.stop);
	}
	json_key_text(call->json, "plan", id);
	json_key_bool(call->json, "is_proposed", proposed);
	json_key_u64(call->json, "at_ns", at_ns);
	json_key_u64(call->json, "horizon_ns", horizon_ns);
	json_key_u64(call->json, "delay_ns", keeper->options.delay_ns);
	plan_put(&plan, json_body_u64(call->body, "limit", 0), call->json);
	json_key_text(call->json, "needs_confirm", is_stopped ? why : "");
	return plan_keep(keeper, copy.sets[0], id, &proposed, at_ns);
}

/* ---- applying it ---- */

static struct keeper_plan *plan_find(struct keeper *keeper, const char *id)
{
	for (uint32_t i = 0; i < KEEPER_PLANS_MAX; i++)
		if (*id && strcmp(keeper->plans[i].id, id) == 0)
			return &keeper->plans[i];
	return NULL;
}

/* A copy: meanwhile others plan. -ENOENT, -ENOMEM. */
static int plan_get(struct keeper *keeper, const char *id, struct keeper_plan *ret_plan)
{
	(void)pthread_mutex_lock(&keeper->words_lock);
	const struct keeper_plan *found = plan_find(keeper, id);
	struct keeper_plan copy = { 0 };
	int r = found ? 0 : -ENOENT;
	if (found) {
		copy = *found;
		copy.proposed = NULL;
	}
	if (r == 0 && found->proposed)
		r = retention_merge(found->proposed, NULL, &copy.proposed);
	(void)pthread_mutex_unlock(&keeper->words_lock);
	if (r == 0)
		*ret_plan = copy;
	return r;
}

/* It was applied, and is none any more. */
static void plan_forget(struct keeper *keeper, const char *id)
{
	(void)pthread_mutex_lock(&keeper->words_lock);
	struct keeper_plan *found = plan_find(keeper, id);
	if (found)
		plan_drop(found);
	(void)pthread_mutex_unlock(&keeper->words_lock);
}

/* Is it still the plan that was shown? */
static int apply_check(
        struct admin_call *call, const struct keeper_plan *kept, struct retention_plan *plan)
{
	struct keeper *keeper = call->keeper;
	char base[RETENTION_DIGEST_BYTES], id[PLAN_ID_BYTES];
	struct retention_set *set = kept->proposed ? kept->proposed : keeper->set;
	int r = retention_digest(keeper->set, base);
	if (r < 0)
		return r;
	if (strcmp(base, kept->base) != 0)
		return admin_refuse(call, WIRE_INVALID,
		        "the policies changed since plan %s; plan again", kept->id);
	if (keeper_now(keeper) > kept->at_ns + PLAN_GOOD_NS)
		return admin_refuse(
		        call, WIRE_INVALID, "plan %s is older than an hour; plan again", kept->id);
	r = plan_again(call, keeper_plan_of(keeper, &set, 0), kept->at_ns, plan);
	if (r == 0)
		r = retention_plan_id(plan, set, id);
	if (r < 0)
		return admin_failed(call, "reading the inventory", r);
	if (strcmp(id, kept->id) != 0)
		return admin_refuse(call, WIRE_INVALID,
		        "what the store holds changed since plan %s; plan again", kept->id);
	return 0;
}

static int apply_confirm(
        struct admin_call *call, const struct keeper_plan *kept, const struct retention_plan *plan)
{
	struct keeper *keeper = call->keeper;
	struct keeper_confirmed before = { 0 };
	char why[KEEPER_ERROR_BYTES];
	if (!kept->proposed)
		before = keeper->confirmed;
	uint64_t confirmed = json_body_u64(call->body, "confirm", UINT64_MAX);
	bool is_too_much = keeper_is_too_much(plan, before, why, sizeof(why));
	if (!is_too_much && !*keeper->stop)
		return 0;
	if (confirmed != plan->windows_now)
		return admin_refuse(call, WIRE_STOPPED,
		        "safety stop: %s. Nothing was done; if that is what is meant, write "
		        "--confirm %" PRIu64 ", the number of windows in the plan",
		        is_too_much ? why : keeper->stop, plan->windows_now);
	return keeper_confirm(keeper, &call->by);
}

void admin_put_expired(const struct store_expired *expired, struct json_writer *json)
{
	static const char *const levels[] = { "windows_10m", "windows_1h", "windows_1d" };
	static const char *const units[] = { "units_10m", "units_1h", "units_1d" };
	for (int level = 0; level < STORE_EXPIRE_LEVELS; level++) {
		json_key_u64(json, levels[level], expired->windows[level]);
		json_key_u64(json, units[level], expired->units[level]);
	}
	json_key_u64(json, "rows", expired->rows);
	json_key_u64(json, "bytes", expired->bytes_detail + expired->bytes_sums);
	json_key_u64(json, "missing", expired->missing);
}

static void put_runs(const struct buf *runs, struct json_writer *json)
{
	json_key(json, "runs");
	json_array_begin(json);
	for (size_t at = 0; at + sizeof(uint64_t) <= runs->count; at += sizeof(uint64_t)) {
		struct reader from = reader_of(runs->bytes + at, sizeof(uint64_t));
		json_u64(json, reader_u64(&from));
	}
	json_array_end(json);
}

static int apply_run(
        struct admin_call *call, struct keeper_plan *kept, const struct retention_plan *plan)
{
	struct keeper *keeper = call->keeper;
	struct store_expired expired = { 0 };
	AUTO_BUF runs = { 0 };
	int r = 0;
	if (kept->proposed || keeper->pending_count > 0) {
		/* A plan that was read is the second word: what it says is in force at once. */
		AUTO(retention_set) set = NULL;
		r = retention_merge(kept->proposed ? kept->proposed : keeper->set, NULL, &set);
		AUTO_BUF details = { 0 };
		if (r == 0)
			admin_describe_changes(keeper->set, set, &details);
		if (r == 0)
			r = details.failed ? -ENOMEM
			                   : keeper_set_policies(keeper, set, false, &call->by,
			                             "retention.set_by_plan", plan->bytes_now,
			                             (const char *)details.bytes);
		if (r < 0)
			return admin_failed(call, "keeping the policies", r);
		(void)TAKE(set);
	}
	if (retention_plan_items_count(plan) > 0)
		r = keeper_hide(keeper, plan, &call->by, "retention.apply", &runs, &expired);
	if (r < 0)
		return admin_failed(call, "hiding what the plan says", r);
	keeper->overdue_bytes = 0;
	keeper->paused_until_ns = 0;
	keeper_set_confirmed(keeper, (struct keeper_confirmed){ 0 });
	put_runs(&runs, call->json);
	admin_put_expired(&expired, call->json);
	json_key_u64(call->json, "erase_ns", keeper_now(keeper) + keeper->options.delay_ns);
	json_key_u64(call->json, "units_parted", keeper_part_mixed(keeper, plan));
	return 0;
}

int admin_retention_apply(struct admin_call *call)
{
	const char *id = json_body_text(call->body, "plan");
	struct keeper_plan kept __attribute__((cleanup(plan_drop))) = { 0 };
	AUTO_RETENTION_PLAN plan = { 0 };
	int r = plan_get(call->keeper, id, &kept);
	if (r == -ENOENT)
		return admin_refuse(call, WIRE_NOT_FOUND,
		        "no plan \"%s\" (they are forgotten when the aggregator restarts); plan "
		        "again",
		        id);
	if (r == 0)
		r = apply_check(call, &kept, &plan);
	if (r == 0)
		r = apply_confirm(call, &kept, &plan);
	if (r == 0)
		r = apply_run(call, &kept, &plan);
	if (r == 0)
		plan_forget(call->keeper, id);
	return r;
}

/* ---- status ---- */

struct status_runs {
	struct buf states; /* struct store_run_state */
};

static int status_visit(void *owner, const struct store_run_state *state)
{
	struct status_runs *runs = owner;
	buf_put(&runs->states, state, sizeof(*state));
	return runs->states.failed ? -ENOMEM : 0;
}

static void status_put_run(
        struct keeper *keeper, const struct store_run_state *state, struct json_writer *json)
{
	struct keeper_run run = { 0 };
	int r = keeper_run_get(keeper, state->run.id, &run);
	json_object_begin(json);
	json_key_u64(json, "run", state->run.id);
	json_key_u64(json, "hidden_ns", state->run.hidden_ns);
	json_key_u64(json, "erase_ns", state->run.erase_ns);
	json_key_bool(json, "is_erasing", state->is_erasing);
	json_key_text(json, "kind", r == 0 ? run.kind : "");
	json_key_text(json, "actor", r == 0 ? run.actor : state->run.note);
	admin_put_expired(&state->hidden, json);
	json_object_end(json);
	if (r == 0)
		keeper_run_fini(&run);
}

static int status_put_runs(struct admin_call *call)
{
	struct status_runs runs = { 0 };
	int r = store_runs(call->store, status_visit, &runs);
	size_t count = r == 0 ? runs.states.count / sizeof(struct store_run_state) : 0;
	json_key(call->json, "runs");
	json_array_begin(call->json);
	for (size_t i = 0; i < count; i++) {
		struct store_run_state state;
		memcpy(&state, runs.states.bytes + i * sizeof(state), sizeof(state));
		status_put_run(call->keeper, &state, call->json);
	}
	json_array_end(call->json);
	buf_fini(&runs.states);
	return r;
}

static void status_put_bytes(void *owner, const char *policy, uint64_t bytes)
{
	json_key_u64(owner, policy, bytes);
}

static void status_put_holds(
        const struct retention_holds *holds, uint64_t now_ns, struct json_writer *json)
{
	json_key(json, "holds_ending");
	json_array_begin(json);
	for (uint32_t i = 0; i < holds->count; i++) {
		const struct retention_hold *hold = &holds->holds[i];
		if (hold->until_ns == RETENTION_FOREVER ||
		        hold->until_ns > now_ns + HOLD_WARNING_NS)
			continue;
		json_object_begin(json);
		json_key_text(json, "id", hold->id);
		json_key_u64(json, "until_ns", hold->until_ns);
		json_object_end(json);
	}
	json_array_end(json);
}

int admin_retention_status(struct admin_call *call)
{
	struct keeper *keeper = call->keeper;
	struct json_writer *json = call->json;
	struct keeper_state state = keeper_state(keeper);
	uint64_t now_ns = keeper_now(keeper);
	AUTO_KEEPER_COPY copy = { 0 };
	int r = keeper_copy_take(keeper, &copy);
	if (r < 0)
		return r;
	json_key_u64(json, "now_ns", now_ns);
	json_key_u64(json, "policies", state.policies);
	json_key_u64(json, "holds", copy.holds->count);
	json_key_u64(json, "last_turn_ns", state.last_turn_ns);
	json_key_u64(json, "last_success_ns", state.last_success_ns);
	json_key_bool(json, "is_late", state.is_late);
	json_key_text(json, "last_error", state.last_error);
	json_key_text(json, "stop", state.stop);
	json_key_u64(json, "stop_since_ns", state.is_stopped ? state.stop_since_ns : 0);
	json_key_u64(json, "paused_until_ns",
	        state.paused_until_ns > now_ns ? state.paused_until_ns : 0);
	json_key_u64(json, "overdue_bytes", state.overdue_bytes);
	json_key_u64(json, "hold_bytes", state.hold_bytes);
	json_key_u64(json, "hidden_bytes", state.hidden_bytes);
	json_key_u64(json, "every_ns", keeper->options.every_ns);
	json_key_u64(json, "grace_ns", keeper->options.grace_ns);
	json_key_u64(json, "delay_ns", keeper->options.delay_ns);
	json_key(json, "changes_in_grace");
	json_array_begin(json);
	for (uint32_t i = 0; i < state.pending_count; i++)
		json_u64(json, state.pending_until_ns[i]);
	json_array_end(json);
	json_key(json, "deleted_bytes");
	json_object_begin(json);
	keeper_deleted(keeper, status_put_bytes, json);
	json_object_end(json);
	json_key(json, "overdue");
	json_object_begin(json);
	keeper_overdue(keeper, status_put_bytes, json);
	json_object_end(json);
	status_put_holds(copy.holds, now_ns, json);
	r = status_put_runs(call);
	return r < 0 ? admin_failed(call, "reading the runs", r) : 0;
}
