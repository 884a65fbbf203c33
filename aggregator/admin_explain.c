/*
 * retention.explain: which policy decides over the series of a selector and why, what becomes of a
 * window that ended at some moment, and when. Series that are alike in all of that are one group.
 * What no data has yet is explained too, where the selector names one series.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/admin_call.h"
#include "core/id_map.h"

#define EXPLAIN_GROUPS_MAX 100
#define EXPLAIN_SERIES_MAX (1u << 22)

/* What makes series alike. */
struct explain_key {
	struct hash128 who; /* tenant, service, type */
	struct retention_outcome outcome;
	struct retention_outcome enforced;
	struct hash128 holds; /* of all that cover it */
	uint32_t hold;        /* the first of them; UINT32_MAX: none */
};

struct explain_group {
	struct explain_key key;
	char *tenant, *service, *type, *example;
	struct buf reasons; /* JSON of the policies' list, written while the dict is at hand */
	struct buf holds;   /* likewise of the holds' ids */
	uint64_t series;
	uint64_t units;
	uint64_t oldest_ns, newest_ns;
};

struct explain {
	struct admin_call *call;
	const struct selector *selector;
	uint64_t at_ns;
	struct plan_options options;
	struct keeper_copy copy;
	struct id_map *seen; /* series, each counted once */
	struct explain_group groups[EXPLAIN_GROUPS_MAX];
	uint32_t groups_count;
	uint64_t left_out; /* series of further groups */
};

static void explain_free(struct explain *explain)
{
	for (uint32_t i = 0; explain && i < explain->groups_count; i++) {
		struct explain_group *group = &explain->groups[i];
		free(group->tenant);
		free(group->service);
		free(group->type);
		free(group->example);
		buf_fini(&group->reasons);
		buf_fini(&group->holds);
	}
	if (explain)
		id_map_free(explain->seen);
	if (explain)
		keeper_copy_fini(&explain->copy);
	free(explain);
}
DEFINE_AUTO(explain);

static char *series_text(const struct dict *dict, uint32_t id)
{
	AUTO_BUF text = { 0 };
	const struct series *series = dict_get_series(dict, id);
	const struct label *labels = dict_get_labels(dict, id);
	size_t count;
	buf_printf(&text, "%s{", dict_text(dict, series->type));
	for (uint32_t i = 0; i < series->labels_count; i++)
		buf_printf(&text, "%s%s=\"%s\"", i ? "," : "", dict_text(dict, labels[i].name),
		        dict_text(dict, labels[i].value));
	buf_put(&text, "}", 2);
	return (char *)buf_take(&text, &count);
}

static void explain_put_reasons(const struct explain *explain, struct retention_subject subject,
        const struct retention_outcome *outcome, struct buf *to)
{
	static const char *const verdicts[] = { "wins", "wins_some", "shorter", "lower_priority",
		"no_match" };
	const struct retention_set *set = explain->options.sets[0];
	struct json_writer json = json_writer_of(to, false);
	json_array_begin(&json);
	for (uint32_t i = 0; i < set->count; i++) {
		AUTO_BUF why = { 0 };
		struct retention_reason reason = retention_explain(set, i, subject, outcome);
		retention_put_reason(set, i, subject, outcome, reason, &why);
		json_object_begin(&json);
		json_key_text(&json, "name", set->policies[i].name);
		json_key_text(&json, "verdict", verdicts[reason.verdict]);
		json_key(&json, "why");
		json_bytes(&json, (const char *)why.bytes, why.count);
		json_object_end(&json);
		to->failed |= why.failed;
	}
	json_array_end(&json);
}

static bool explain_is_held(
        const struct explain *explain, uint32_t hold, struct retention_subject subject)
{
	return retention_hold_covers(&explain->options.holds->holds[hold], subject,
	        explain->at_ns > 0 ? explain->at_ns - 1 : 0, explain->at_ns,
	        explain->options.now_ns);
}

/* Whoever releases one wants to know what else holds it. */
static void explain_find_holds(
        const struct explain *explain, struct retention_subject subject, struct explain_key *key)
{
	const struct retention_holds *holds = explain->options.holds;
	uint8_t covers[RETENTION_HOLDS_MAX] = { 0 };
	key->hold = UINT32_MAX;
	for (uint32_t i = 0; holds && i < holds->count; i++) {
		covers[i] = explain_is_held(explain, i, subject);
		if (covers[i] && key->hold == UINT32_MAX)
			key->hold = i;
	}
	key->holds = hash128_bytes(covers, sizeof(covers));
}

static void explain_put_holds(
        const struct explain *explain, struct retention_subject subject, struct buf *to)
{
	const struct retention_holds *holds = explain->options.holds;
	struct json_writer json = json_writer_of(to, false);
	json_array_begin(&json);
	for (uint32_t i = 0; holds && i < holds->count; i++)
		if (explain_is_held(explain, i, subject))
			json_text(&json, holds->holds[i].id);
	json_array_end(&json);
}

static bool outcome_equal(const struct retention_outcome *a, const struct retention_outcome *b)
{
	for (int tier = 0; tier < RETENTION_TIERS; tier++)
		if (a->keep.keep_ns[tier] != b->keep.keep_ns[tier] ||
		        a->policies[tier] != b->policies[tier] ||
		        a->clamps[tier] != b->clamps[tier])
			return false;
	return true;
}

static bool explain_key_equal(const struct explain_key *a, const struct explain_key *b)
{
	return hash128_equal(a->who, b->who) && hash128_equal(a->holds, b->holds) &&
	       outcome_equal(&a->outcome, &b->outcome) && outcome_equal(&a->enforced, &b->enforced);
}

/* The group of a series; NULL: no room, or no memory (*r). */
static struct explain_group *explain_group_get(struct explain *explain, const char *service,
        const char *type, struct retention_subject subject, int *r)
{
	struct explain_key key;
	AUTO_BUF who = { 0 };
	buf_printf(&who, "%s%c%s%c%s", subject.tenant, 0, service, 0, type);
	key.who = hash128_bytes(who.bytes, who.count);
	key.outcome = retention_evaluate(
	        explain->options.sets[0], explain->options.limits, subject);
	key.enforced = retention_plan_outcome(&explain->options, subject);
	explain_find_holds(explain, subject, &key);
	*r = who.failed ? -ENOMEM : 0;
	for (uint32_t i = 0; i < explain->groups_count && *r == 0; i++)
		if (explain_key_equal(&explain->groups[i].key, &key))
			return &explain->groups[i];
	if (*r < 0 || explain->groups_count == EXPLAIN_GROUPS_MAX)
		return NULL;

	struct explain_group *group = &explain->groups[explain->groups_count++];
	group->key = key;
	group->tenant = strdup(subject.tenant);
	group->service = strdup(service);
	group->type = strdup(type);
	group->example = series_text(subject.dict, subject.series);
	group->oldest_ns = UINT64_MAX;
	explain_put_reasons(explain, subject, &key.outcome, &group->reasons);
	explain_put_holds(explain, subject, &group->holds);
	if (!group->tenant || !group->service || !group->type || !group->example ||
	        group->reasons.failed || group->holds.failed)
		*r = -ENOMEM;
	return group;
}

static int explain_series(
        struct explain *explain, const struct store_inventory_unit *unit, uint32_t series)
{
	struct hash128 id = hash128_bytes(unit->tenant, strlen(unit->tenant));
	id.low ^= ((uint64_t)series << 32 | unit->dict_generation) * UINT64_C(0x9e3779b97f4a7c15);
	uint32_t ignored;
	bool is_new = false;
	int r = id_map_intern(explain->seen, id, &ignored, &is_new);
	if (r < 0)
		return r;
	struct retention_subject subject = { unit->tenant, unit->dict, series };
	struct explain_group *group = explain_group_get(
	        explain, unit->service, unit->type, subject, &r);
	if (!group) {
		explain->left_out += is_new;
		return r;
	}
	group->series += is_new;
	group->units++;
	if (unit->window.from_ns < group->oldest_ns)
		group->oldest_ns = unit->window.from_ns;
	if (unit->window.to_ns > group->newest_ns)
		group->newest_ns = unit->window.to_ns;
	return r;
}

static enum store_inventory_need explain_need(void *owner, const struct store_inventory_unit *unit)
{
	const struct explain *explain = owner;
	/* What becomes of a series is said of each, whatever they have in common. */
	return selector_judge(explain->selector, plan_known(unit)) == SELECTOR_NONE
	               ? STORE_NEED_NOTHING
	               : STORE_NEED_SERIES;
}

static int explain_visit(void *owner, const struct store_inventory_unit *unit)
{
	struct explain *explain = owner;
	int r = 0;
	for (uint32_t i = 0; i < unit->series_count && r == 0; i++)
		if (selector_matches_of(
		            explain->selector, unit->tenant, unit->dict, unit->series[i]))
			r = explain_series(explain, unit, unit->series[i]);
	return r;
}

/* The series that a selector of nothing but `=` names. 1: it does. */
static int explain_named(struct explain *explain)
{
	const struct selector *selector = explain->selector;
	struct label labels[SELECTOR_MATCHERS_MAX];
	struct series series = { .period = 1 };
	uint32_t count = 0, id = 0;
	const char *type = selector_type(selector), *service = "", *tenant = "";
	AUTO(dict) dict = dict_new(dict_limits_default);
	int r = dict ? dict_cstring(dict, type ? type : "cpu", &series.type) : -ENOMEM;
	for (uint32_t i = 0; i < selector_matchers_count(selector) && r == 0; i++) {
		const char *name = selector_matcher_name(selector, i);
		const char *value = selector_matcher_value(selector, i);
		if (selector_matcher_op(selector, i) != MATCHER_EQUAL)
			return 0;
		if (strcmp(name, SELECTOR_TENANT) == 0) {
			tenant = value;
			continue;
		}
		r = dict_cstring(dict, name, &labels[count].name);
		if (r == 0)
			r = dict_cstring(dict, value, &labels[count++].value);
		if (strcmp(name, "service") == 0)
			service = value;
	}
	if (r == 0)
		r = dict_series(dict, &series, labels, count, &id);
	/* One label named twice: contradictions were refused, so it is the same. */
	if (r < 0)
		return r == -EINVAL ? 0 : r;
	(void)explain_group_get(explain, service, dict_text(dict, series.type),
	        (struct retention_subject){ tenant, dict, id }, &r);
	return r < 0 ? r : 1;
}

static void explain_put_tiers(
        const struct explain *explain, const struct explain_group *group, struct json_writer *json)
{
	static const char *const clamps[] = { "", "floor", "ceiling" };
	const struct retention_set *set = explain->options.sets[0];
	const struct retention_outcome *outcome = &group->key.outcome;
	const char *left = "gone";
	uint64_t now_ns = explain->options.now_ns, next_ns = 0, last_ns = 0;
	bool is_held = group->key.hold != UINT32_MAX;
	json_key(json, "tiers");
	json_array_begin(json);
	for (int tier = RETENTION_TIERS - 1; tier >= 0; tier--) {
		uint64_t until_ns = retention_expires_ns(
		        &group->key.enforced, tier, explain->at_ns);
		uint32_t policy = outcome->policies[tier];
		AUTO_BUF keep = { 0 };
		retention_put_keep(&keep, outcome->keep.keep_ns[tier]);
		json_object_begin(json);
		json_key_text(json, "tier", retention_tier_name(tier));
		json_key(json, "keep");
		json_bytes(json, (const char *)keep.bytes, keep.count);
		json_key_text(json, "policy",
		        policy == RETENTION_NO_POLICY ? "none" : set->policies[policy].name);
		json_key_text(json, "clamp", clamps[outcome->clamps[tier]]);
		if (until_ns != RETENTION_FOREVER)
			json_key_u64(json, "until_ns", until_ns);
		json_object_end(json);
		if (tier == RETENTION_1D)
			last_ns = until_ns;
		if (is_held || until_ns > now_ns) {
			left = retention_tier_name(tier);
			next_ns = until_ns;
		}
	}
	json_array_end(json);
	json_key_text(json, "left", left);
	if (next_ns > 0 && next_ns != RETENTION_FOREVER)
		json_key_u64(json, "next_ns", next_ns);
	if (last_ns != RETENTION_FOREVER)
		json_key_u64(json, "erased_ns", last_ns + explain->call->keeper->options.delay_ns);
}

static void explain_put_group(
        const struct explain *explain, const struct explain_group *group, struct json_writer *json)
{
	json_object_begin(json);
	json_key_text(json, "tenant", group->tenant);
	json_key_text(json, "service", group->service);
	json_key_text(json, "type", group->type);
	json_key_text(json, "example", group->example);
	json_key_u64(json, "series", group->series);
	json_key_u64(json, "units", group->units);
	if (group->units > 0) {
		json_key_u64(json, "oldest_ns", group->oldest_ns);
		json_key_u64(json, "newest_ns", group->newest_ns);
	}
	explain_put_tiers(explain, group, json);
	if (group->key.hold != UINT32_MAX)
		json_key_text(json, "hold", explain->options.holds->holds[group->key.hold].id);
	json_key(json, "holds");
	json_raw(json, (const char *)group->holds.bytes, group->holds.count);
	json_key_bool(json, "in_grace",
	        memcmp(&group->key.outcome.keep, &group->key.enforced.keep,
	                sizeof(group->key.outcome.keep)) != 0);
	json_key(json, "policies");
	json_raw(json, (const char *)group->reasons.bytes, group->reasons.count);
	json_object_end(json);
}

int admin_retention_explain(struct admin_call *call)
{
	const char *text = json_body_text(call->body, "selector");
	char error[512] = "";
	AUTO(selector) selector = NULL;
	AUTO(explain) explain = calloc(1, sizeof(*explain));
	if (explain)
		explain->seen = id_map_new(EXPLAIN_SERIES_MAX);
	if (!explain || !explain->seen)
		return -ENOMEM;
	int r = selector_parse(text, &selector, error, sizeof(error));
	if (r == 0)
		r = selector_check_possible(selector, error, sizeof(error));
	if (r == -EINVAL)
		return admin_refuse(call, WIRE_INVALID, "selector: %s", error);
	if (r < 0)
		return r;
	explain->call = call;
	explain->selector = selector;
	r = keeper_copy_take(call->keeper, &explain->copy);
	if (r < 0)
		return r;
	explain->options = keeper_copy_options(call->keeper, &explain->copy, 0);
	explain->at_ns = json_body_u64(call->body, "at_ns", explain->options.now_ns);
	r = store_inventory(call->store,
	        (struct store_inventory_options){ .need = explain_need, .pass = admin_pass(call) },
	        explain_visit, explain);
	if (r == 0 && explain->groups_count == 0)
		r = explain_named(explain);
	if (r < 0)
		return admin_failed(call, "reading the inventory", r);
	json_key_u64(call->json, "at_ns", explain->at_ns);
	json_key(call->json, "groups");
	json_array_begin(call->json);
	for (uint32_t i = 0; i < explain->groups_count; i++)
		explain_put_group(explain, &explain->groups[i], call->json);
	json_array_end(call->json);
	json_key_u64(call->json, "series_left_out", explain->left_out);
	return 0;
}
