/* retention.list, get, set, delete: the policies themselves. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/admin_call.h"

/* How far a change is looked ahead, to say whether anything would be lost by it. */
#define SET_HORIZON_NS (UINT64_C(30) * 86400 * NS_PER_S)

static void put_limit(const struct retention_tiers *tiers, const char *key, uint64_t none_ns,
        struct json_writer *json)
{
	json_key(json, key);
	json_object_begin(json);
	for (int tier = 0; tier < RETENTION_TIERS; tier++) {
		AUTO_BUF text = { 0 };
		if (tiers->keep_ns[tier] == none_ns)
			continue;
		retention_put_keep(&text, tiers->keep_ns[tier]);
		json_key(json, retention_tier_name(tier));
		json_bytes(json, (const char *)text.bytes, text.count);
	}
	json_object_end(json);
}

static void put_limits(const struct retention_limits *limits, struct json_writer *json)
{
	put_limit(&limits->general.floor, "floor", 0, json);
	put_limit(&limits->general.ceiling, "ceiling", RETENTION_FOREVER, json);
	json_key(json, "tenant_limits");
	json_array_begin(json);
	for (uint32_t i = 0; i < limits->tenants_count; i++) {
		const struct retention_tenant_bounds *tenant = &limits->tenants[i];
		json_object_begin(json);
		json_key_text(json, "tenant", tenant->tenant);
		put_limit(&tenant->bounds.floor, "floor", 0, json);
		put_limit(&tenant->bounds.ceiling, "ceiling", RETENTION_FOREVER, json);
		json_object_end(json);
	}
	json_array_end(json);
}

static void put_policies(const struct retention_set *set, struct json_writer *json)
{
	json_key(json, "policies");
	json_array_begin(json);
	for (uint32_t i = 0; i < set->count; i++)
		retention_put_policy_json(&set->policies[i], json);
	json_array_end(json);
}

static void list_put_covers(const struct retention_set *set, const struct retention_plan *plan,
        struct json_writer *json)
{
	json_key(json, "covers");
	json_array_begin(json);
	for (uint32_t i = 0; i <= RETENTION_POLICIES_MAX; i++) {
		if (i >= set->count && i < RETENTION_POLICIES_MAX)
			continue;
		json_object_begin(json);
		json_key_text(json, "policy", i < set->count ? set->policies[i].name : "none");
		json_key_u64(json, "series", plan->covers[i].series);
		json_key_u64(json, "units", plan->covers[i].units);
		json_key_u64(json, "bytes", plan->covers[i].bytes);
		json_object_end(json);
	}
	json_array_end(json);
}

int admin_retention_list(struct admin_call *call)
{
	struct keeper *keeper = call->keeper;
	AUTO_KEEPER_COPY copy = { 0 };
	AUTO_RETENTION_PLAN plan = { 0 };
	char digest[RETENTION_DIGEST_BYTES];
	int r = keeper_copy_take(keeper, &copy);
	if (r < 0)
		return r;
	const struct retention_set *set = copy.sets[0];
	struct plan_options options = keeper_copy_plan_of(keeper, &copy, copy.sets, 0);
	options.pass = admin_pass(call);
	r = retention_digest(set, digest);
	if (r == 0)
		r = retention_plan_make(&options, &plan);
	if (r < 0)
		return admin_failed(call, "reading the inventory", r);
	put_policies(set, call->json);
	list_put_covers(set, &plan, call->json);
	json_key_text(call->json, "digest", digest);
	put_limits(&keeper->options.limits, call->json);
	struct keeper_state state = keeper_state(keeper);
	json_key_u64(call->json, "pending", state.pending_count);
	json_key_u64(call->json, "in_force_ns",
	        state.pending_count > 0 ? state.pending_until_ns[state.pending_count - 1] : 0);
	return 0;
}

int admin_retention_get(struct admin_call *call)
{
	const char *name = json_body_text(call->body, "name");
	AUTO_KEEPER_COPY copy = { 0 };
	int r = keeper_copy_take(call->keeper, &copy);
	const struct retention_policy *policy = r == 0 ? retention_find(copy.sets[0], name) : NULL;
	if (r < 0)
		return r;
	if (!policy)
		return admin_refuse(call, WIRE_NOT_FOUND,
		        "no policy \"%s\"; `profleet retention list` shows those there are", name);
	json_key(call->json, "policies");
	json_array_begin(call->json);
	retention_put_policy_json(policy, call->json);
	json_array_end(call->json);
	return 0;
}

/* ---- changing them ---- */

static bool policy_says_the_same(const struct retention_policy *a, const struct retention_policy *b)
{
	return strcmp(a->selector_text, b->selector_text) == 0 && a->priority == b->priority &&
	       memcmp(&a->tiers, &b->tiers, sizeof(a->tiers)) == 0 &&
	       strcmp(a->reason, b->reason) == 0;
}

/* Who made a policy that is set again as it is stays who made it. */
static int keep_signatures(const struct retention_set *base, struct retention_set *over)
{
	for (uint32_t i = 0; i < over->count; i++) {
		struct retention_policy *policy = &over->policies[i];
		const struct retention_policy *before = retention_find(base, policy->name);
		if (!before || !policy_says_the_same(before, policy)) {
			policy->created_ns = 0;
			continue;
		}
		char *author = strdup(before->created_by);
		if (!author)
			return -ENOMEM;
		free(policy->created_by);
		policy->created_by = author;
		policy->created_ns = before->created_ns;
	}
	return 0;
}

static void put_change(const struct retention_policy *before, const struct retention_policy *after,
        struct json_writer *json)
{
	bool is_same = before && after && policy_says_the_same(before, after);
	json_object_begin(json);
	json_key_text(json, "name", (after ? after : before)->name);
	json_key_text(json, "change",
	        is_same   ? "same"
	        : !before ? "added"
	        : !after  ? "removed"
	                  : "changed");
	if (before && !is_same) {
		json_key(json, "before");
		retention_put_policy_json(before, json);
	}
	if (after && !is_same) {
		json_key(json, "after");
		retention_put_policy_json(after, json);
	}
	json_object_end(json);
}

/* Of every name in either. Returns whether anything changes. */
static bool put_changes(const struct retention_set *before, const struct retention_set *after,
        struct json_writer *json)
{
	bool is_changed = false;
	json_key(json, "changes");
	json_array_begin(json);
	for (uint32_t i = 0; i < after->count; i++) {
		const struct retention_policy *was = retention_find(
		        before, after->policies[i].name);
		bool is_same = was && policy_says_the_same(was, &after->policies[i]);
		is_changed |= !is_same;
		put_change(was, &after->policies[i], json);
	}
	for (uint32_t i = 0; i < before->count; i++) {
		if (retention_find(after, before->policies[i].name))
			continue;
		is_changed = true;
		put_change(&before->policies[i], NULL, json);
	}
	json_array_end(json);
	return is_changed;
}

/* For the audit log: whose policies became others, by name. */
void admin_describe_changes(
        const struct retention_set *before, const struct retention_set *after, struct buf *to)
{
	static const char *const kinds[] = { "added", "changed", "removed" };
	struct json_writer json = json_writer_of(to, false);
	json_object_begin(&json);
	for (int kind = 0; kind < 3; kind++) {
		const struct retention_set *of = kind == 2 ? before : after;
		const struct retention_set *other = kind == 2 ? after : before;
		uint32_t count = 0;
		for (uint32_t i = 0; i < of->count; i++) {
			const struct retention_policy *policy = &of->policies[i];
			const struct retention_policy *same = retention_find(other, policy->name);
			if (kind == 1 ? !same || policy_says_the_same(same, policy) : same != NULL)
				continue;
			if (count++ == 0) {
				json_key(&json, kinds[kind]);
				json_array_begin(&json);
			}
			json_text(&json, policy->name);
		}
		if (count > 0)
			json_array_end(&json);
	}
	json_object_end(&json);
	buf_put_u8(to, 0);
}

/* Names that answers and metrics use for what no policy does. */
int admin_refuse_reserved(struct admin_call *call, const struct retention_set *set)
{
	static const char *const reserved[] = { "none", "on-request" };
	for (size_t i = 0; i < COUNT_OF(reserved); i++)
		if (retention_find(set, reserved[i]))
			return admin_refuse(call, WIRE_INVALID,
			        "policy \"%s\": name: is what is said where no policy decides; "
			        "write another",
			        reserved[i]);
	return 0;
}

/* What would go now and soon if this set alone were in force. */
struct set_losses {
	uint64_t windows_now, bytes_now, bytes_later;
};

static int set_losses_of(
        struct admin_call *call, struct retention_set *set, struct set_losses *ret_losses)
{
	struct plan_options options = keeper_plan_of(call->keeper, &set, SET_HORIZON_NS);
	options.pass = admin_pass(call);
	AUTO_RETENTION_PLAN plan = { 0 };
	int r = retention_plan_make(&options, &plan);
	if (r == 0)
		*ret_losses = (struct set_losses){ plan.windows_now, plan.bytes_now,
			plan.bytes_later };
	return r;
}

/* Words that have to be written before a change is made. */
struct set_needs {
	bool yes;
	bool confirm; /* of what goes at once: the number of its windows */
};

static struct set_needs set_needs_of(const struct admin_call *call, const struct set_losses *losses,
        uint64_t lost_now, uint64_t lost)
{
	bool yes = json_body_flag(call->body, "yes"), now = json_body_flag(call->body, "now");
	uint64_t confirmed = json_body_u64(call->body, "confirm", UINT64_MAX);
	return (struct set_needs){
		.yes = (lost > 0 || now) && !yes,
		.confirm = now && lost_now > 0 && confirmed != losses->windows_now,
	};
}

/* Whoever confirmed what goes at once need not do so again when it goes. */
static int retention_carry_confirm(struct admin_call *call, const struct set_losses *losses)
{
	struct keeper_confirmed confirmed = { losses->windows_now, losses->bytes_now };
	if (!json_body_flag(call->body, "now") || losses->windows_now == 0 ||
	        json_body_u64(call->body, "confirm", UINT64_MAX) != losses->windows_now)
		return 0;
	return keeper_confirm_set(call->keeper, confirmed, &call->by);
}

/* How a change is asked for: set and delete end alike. */
static int retention_change(struct admin_call *call, struct retention_set **set, const char *action)
{
	struct keeper *keeper = call->keeper;
	struct set_losses before = { 0 }, after = { 0 };
	bool now = json_body_flag(call->body, "now");
	bool is_changed = put_changes(keeper->set, *set, call->json);
	call->passes = 2;
	int r = set_losses_of(call, keeper->set, &before);
	if (r == 0)
		r = set_losses_of(call, *set, &after);
	if (r < 0)
		return admin_failed(call, "reading the inventory", r);

	uint64_t all_before = before.bytes_now + before.bytes_later;
	uint64_t all_after = after.bytes_now + after.bytes_later;
	uint64_t lost_now = after.bytes_now > before.bytes_now ? after.bytes_now - before.bytes_now
	                                                       : 0;
	uint64_t lost = all_after > all_before ? all_after - all_before : 0;
	struct set_needs needs = set_needs_of(call, &after, lost_now, lost);
	bool is_applied = is_changed && !needs.yes && !needs.confirm;
	if (is_applied) {
		AUTO_BUF details = { 0 };
		admin_describe_changes(keeper->set, *set, &details);
		r = details.failed ? -ENOMEM
		                   : keeper_set_policies(keeper, *set, !now, &call->by, action,
		                             lost_now, (const char *)details.bytes);
		if (r == -E2BIG)
			return admin_refuse(call, WIRE_INVALID,
			        "too many changes within the grace: wait for it, or write --now");
		if (r == -EFBIG)
			return admin_refuse(call, WIRE_INVALID,
			        "the policies and those of before are more text than is kept: "
			        "delete some, or write --now");
		if (r < 0)
			return admin_failed(call, "keeping the policies", r);
		(void)TAKE(*set);
		r = retention_carry_confirm(call, &after);
		if (r < 0)
			return admin_failed(call, "keeping the confirmation", r);
	}
	json_key_bool(call->json, "applied", is_applied);
	json_key_bool(call->json, "needs_yes", is_changed && needs.yes);
	json_key_bool(call->json, "needs_confirm", is_changed && needs.confirm);
	json_key_u64(call->json, "bytes_lost_now", lost_now);
	json_key_u64(call->json, "windows_now", after.windows_now);
	json_key_u64(call->json, "bytes_lost_30d", lost);
	json_key_u64(call->json, "in_force_ns",
	        now ? keeper_now(keeper) : keeper_now(keeper) + keeper->options.grace_ns);
	return 0;
}

int admin_retention_set(struct admin_call *call)
{
	const char *text = json_body_text(call->body, "text");
	const char *file = json_body_text(call->body, "file");
	AUTO(retention_set) over = NULL;
	AUTO(retention_set) merged = NULL;
	int r = retention_parse(*file ? file : "policies", text, strlen(text), &over, call->error,
	        sizeof(call->error));
	if (r < 0)
		call->status = r == -ENOMEM ? WIRE_FAILED : WIRE_INVALID;
	if (r == 0)
		r = admin_refuse_reserved(call, over);
	if (r == 0)
		r = keep_signatures(call->keeper->set, over);
	if (r == 0)
		r = retention_sign(over, call->by.actor, keeper_now(call->keeper));
	if (r == 0)
		r = retention_merge(call->keeper->set, over, &merged);
	if (r == -ENOSPC)
		return admin_refuse(call, WIRE_INVALID, "more than %d policies; delete some",
		        RETENTION_POLICIES_MAX);
	return r < 0 ? r : retention_change(call, &merged, "retention.set");
}

int admin_retention_delete(struct admin_call *call)
{
	const char *name = json_body_text(call->body, "name");
	AUTO(retention_set) reduced = NULL;
	int r = retention_remove(call->keeper->set, name, &reduced);
	if (r == -ENOENT)
		return admin_refuse(call, WIRE_NOT_FOUND,
		        "no policy \"%s\"; `profleet retention list` shows those there are", name);
	return r < 0 ? r : retention_change(call, &reduced, "retention.delete");
}
