/*
 * Evaluation goes over all policies for every series: there are few, and whoever asks for many
 * series keeps the outcome of each. Selectors are matched twice (which priority wins, then what the
 * policies of that priority say), so that nothing has to be remembered in between.
 */

#include "profile/retention.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/options.h"
#include "core/sha256.h"
#include "profile/retention_private.h"

#define DAY_NS (86400 * NS_PER_S)

static const char *const retention_tier_names[] = {
	[RETENTION_DETAIL] = "detail",
	[RETENTION_10M] = "10m",
	[RETENTION_1H] = "1h",
	[RETENTION_1D] = "1d",
};

static_assert(COUNT_OF(retention_tier_names) == RETENTION_TIERS, "every tier has a name");

const struct retention_limits retention_limits_none = {
	.general = { .ceiling = { { RETENTION_FOREVER, RETENTION_FOREVER, RETENTION_FOREVER,
	                     RETENTION_FOREVER } } },
};

const char *retention_tier_name(enum retention_tier tier)
{
	return retention_tier_names[tier];
}

int retention_parse_keep(const char *text, uint64_t *ret_keep_ns)
{
	uint64_t keep_ns;
	if (strcmp(text, "forever") == 0) {
		*ret_keep_ns = RETENTION_FOREVER;
		return 0;
	}
	if (option_parse_duration(text, &keep_ns) < 0 || keep_ns == RETENTION_FOREVER)
		return -EINVAL;
	*ret_keep_ns = keep_ns;
	return 0;
}

/* In days where it is whole days: people think of 30 days, not of 4 weeks and 2 days. */
void retention_put_keep(struct buf *to, uint64_t keep_ns)
{
	char text[OPTION_NUMBER_BYTES_MAX];
	if (keep_ns == RETENTION_FOREVER)
		buf_printf(to, "forever");
	else if (keep_ns > 0 && keep_ns % DAY_NS == 0)
		buf_printf(to, "%lud", (unsigned long)(keep_ns / DAY_NS));
	else
		buf_printf(to, "%s", option_format_duration(keep_ns, text));
}

static int retention_tier_find(const char *name, size_t count)
{
	for (int tier = 0; tier < RETENTION_TIERS; tier++)
		if (strlen(retention_tier_names[tier]) == count &&
		        memcmp(retention_tier_names[tier], name, count) == 0)
			return tier;
	return -1;
}

int retention_parse_tiers(
        const char *text, struct retention_tiers *tiers, char *ret_error, size_t error_bytes)
{
	struct retention_tiers found = *tiers;
	char part[64];
	while (*text) {
		size_t length = strcspn(text, ",");
		snprintf(part, sizeof(part), "%.*s", (int)(length < 63 ? length : 63), text);
		text += length + (text[length] == ',');

		const char *equal = strchr(part, '=');
		int tier = equal ? retention_tier_find(part, (size_t)(equal - part)) : -1;
		uint64_t keep_ns;
		if (length >= sizeof(part) || (equal && tier < 0) ||
		        retention_parse_keep(equal ? equal + 1 : part, &keep_ns) < 0) {
			snprintf(ret_error, error_bytes,
			        "\"%s\" is no tier with a duration; write 30d for all tiers, or "
			        "detail=7d,10m=30d,1h=400d,1d=forever",
			        part);
			return -EINVAL;
		}
		for (int i = 0; i < RETENTION_TIERS; i++)
			if (tier < 0 || tier == i)
				found.keep_ns[i] = keep_ns;
	}
	*tiers = found;
	return 0;
}

int retention_check_tiers(const struct retention_tiers *tiers, char *ret_error, size_t error_bytes)
{
	for (int tier = 1; tier < RETENTION_TIERS; tier++) {
		if (tiers->keep_ns[tier] >= tiers->keep_ns[tier - 1])
			continue;
		AUTO_BUF text = { 0 };
		buf_printf(&text, "%s (", retention_tier_names[tier]);
		retention_put_keep(&text, tiers->keep_ns[tier]);
		buf_printf(&text, ") is shorter than %s (", retention_tier_names[tier - 1]);
		retention_put_keep(&text, tiers->keep_ns[tier - 1]);
		buf_printf(&text,
		        "), but sums are what is left when what they were made of is gone; write "
		        "%s: ",
		        retention_tier_names[tier]);
		retention_put_keep(&text, tiers->keep_ns[tier - 1]);
		buf_printf(&text, " or more (a tier that is not named is kept forever)");
		buf_put_u8(&text, 0);
		snprintf(ret_error, error_bytes, "%s",
		        text.failed ? "out of memory" : (const char *)text.bytes);
		return -EINVAL;
	}
	return 0;
}

/* ---- what the server clamps ---- */

void retention_limits_fini(struct retention_limits *limits)
{
	free(limits->tenants);
	*limits = retention_limits_none;
}

const struct retention_bounds *retention_limits_of(
        const struct retention_limits *limits, const char *tenant)
{
	for (uint32_t i = 0; i < limits->tenants_count; i++)
		if (strcmp(limits->tenants[i].tenant, tenant) == 0)
			return &limits->tenants[i].bounds;
	return &limits->general;
}

/* The place of a tenant that is named, made from the general limits where it has none. */
static int retention_limits_place(
        struct retention_limits *limits, const char *tenant, struct retention_bounds **ret_bounds)
{
	for (uint32_t i = 0; i < limits->tenants_count; i++) {
		if (strcmp(limits->tenants[i].tenant, tenant) == 0) {
			*ret_bounds = &limits->tenants[i].bounds;
			return 0;
		}
	}
	if (limits->tenants_count == RETENTION_TENANTS_MAX)
		return -ENOSPC;
	struct retention_tenant_bounds *tenants = reallocarray(
	        limits->tenants, (size_t)limits->tenants_count + 1, sizeof(*tenants));
	if (!tenants)
		return -ENOMEM;
	limits->tenants = tenants;
	struct retention_tenant_bounds *added = &tenants[limits->tenants_count++];
	snprintf(added->tenant, sizeof(added->tenant), "%s", tenant);
	added->bounds = limits->general;
	*ret_bounds = &added->bounds;
	return 0;
}

struct limits_reading {
	const char *option; /* "floor" or "ceiling" */
	struct retention_limits *limits;
	char *error;
	size_t error_bytes;
};

static struct retention_tiers *limits_side(
        const struct limits_reading *reading, struct retention_bounds *bounds)
{
	return strcmp(reading->option, "floor") == 0 ? &bounds->floor : &bounds->ceiling;
}

static int limits_refuse(const struct limits_reading *reading, const char *why)
{
	snprintf(reading->error, reading->error_bytes, "%s: %s", reading->option, why);
	return -EINVAL;
}

/* One part between semicolons: "TIERS" or "TENANT: TIERS". */
static int limits_read_part(
        const struct limits_reading *reading, const char *part, bool wants_tenants)
{
	char error[256];
	const char *colon = strrchr(part, ':');
	size_t length = colon ? (size_t)(colon - part) : 0;
	struct retention_bounds *bounds = &reading->limits->general;
	char tenant[RETENTION_NAME_BYTES_MAX + 1];
	if (wants_tenants != (colon != NULL))
		return 0;
	if (colon && (length == 0 || length > RETENTION_NAME_BYTES_MAX))
		return limits_refuse(reading, "write TENANT: detail=30d behind a semicolon");
	snprintf(tenant, sizeof(tenant), "%.*s", (int)length, part);
	int r = colon ? retention_limits_place(reading->limits, tenant, &bounds) : 0;
	if (r == -ENOSPC)
		return limits_refuse(reading, "more than 256 tenants");
	const char *tiers = colon ? colon + 1 + strspn(colon + 1, " ") : part;
	if (r == 0)
		r = retention_parse_tiers(
		        tiers, limits_side(reading, bounds), error, sizeof(error));
	return r == -EINVAL ? limits_refuse(reading, error) : r;
}

/* Those of everybody first, as tenants begin with them. */
static int limits_read(const struct limits_reading *reading, const char *text, bool wants_tenants)
{
	int r = 0;
	while (text && *text && r == 0) {
		char part[1024];
		text += strspn(text, " ");
		size_t count = strcspn(text, ";"), kept = count;
		while (kept > 0 && text[kept - 1] == ' ')
			kept--;
		if (kept >= sizeof(part))
			return limits_refuse(reading, "too long");
		snprintf(part, sizeof(part), "%.*s", (int)kept, text);
		if (kept > 0)
			r = limits_read_part(reading, part, wants_tenants);
		text += count + (text[count] == ';');
	}
	return r;
}

int retention_limits_parse(const char *floor, const char *ceiling, struct retention_limits *limits,
        char *ret_error, size_t error_bytes)
{
	struct limits_reading of_floor = { "floor", limits, ret_error, error_bytes };
	struct limits_reading of_ceiling = { "ceiling", limits, ret_error, error_bytes };
	*limits = retention_limits_none;
	int r = limits_read(&of_floor, floor, false);
	r = r < 0 ? r : limits_read(&of_ceiling, ceiling, false);
	r = r < 0 ? r : limits_read(&of_floor, floor, true);
	r = r < 0 ? r : limits_read(&of_ceiling, ceiling, true);
	if (r < 0)
		retention_limits_fini(limits);
	return r;
}

/* ---- sets ---- */

void retention_policy_fini(struct retention_policy *policy)
{
	selector_free(policy->selector);
	free(policy->selector_text);
	free(policy->created_by);
	free(policy->reason);
	*policy = (struct retention_policy){ 0 };
}

struct retention_set *retention_set_new(void)
{
	return calloc(1, sizeof(struct retention_set));
}

void retention_set_free(struct retention_set *set)
{
	if (!set)
		return;
	for (uint32_t i = 0; i < set->count; i++)
		retention_policy_fini(&set->policies[i]);
	free(set->policies);
	free(set);
}

static int retention_policy_compare(const void *a, const void *b)
{
	const struct retention_policy *left = a, *right = b;
	return strcmp(left->name, right->name);
}

int retention_set_settle(struct retention_set *set, uint32_t *ret_twice)
{
	if (set->count > 1)
		qsort(set->policies, set->count, sizeof(*set->policies), retention_policy_compare);
	for (uint32_t i = 1; i < set->count; i++) {
		if (strcmp(set->policies[i].name, set->policies[i - 1].name) == 0) {
			*ret_twice = i;
			return -EEXIST;
		}
	}
	return 0;
}

const struct retention_policy *retention_find(const struct retention_set *set, const char *name)
{
	for (uint32_t i = 0; set && i < set->count; i++)
		if (strcmp(set->policies[i].name, name) == 0)
			return &set->policies[i];
	return NULL;
}

/* Selectors are read again: a compiled one cannot be copied. */
static int retention_policy_copy(
        const struct retention_policy *from, struct retention_policy *ret_policy)
{
	char error[64];
	struct retention_policy policy = *from;
	policy.selector = NULL;
	policy.selector_text = strdup(from->selector_text);
	policy.created_by = strdup(from->created_by);
	policy.reason = strdup(from->reason);
	int r = policy.selector_text && policy.created_by && policy.reason
	                ? selector_parse(
	                          from->selector_text, &policy.selector, error, sizeof(error))
	                : -ENOMEM;
	if (r < 0) {
		retention_policy_fini(&policy);
		return r;
	}
	*ret_policy = policy;
	return 0;
}

static int retention_copy_all(const struct retention_set *from, const struct retention_set *but,
        const char *but_name, struct retention_set *to)
{
	for (uint32_t i = 0; from && i < from->count; i++) {
		const struct retention_policy *policy = &from->policies[i];
		if ((but && retention_find(but, policy->name)) ||
		        (but_name && strcmp(policy->name, but_name) == 0))
			continue;
		int r = retention_policy_copy(policy, &to->policies[to->count]);
		if (r < 0)
			return r;
		to->count++;
	}
	return 0;
}

int retention_merge(const struct retention_set *base, const struct retention_set *over,
        struct retention_set **ret_set)
{
	uint32_t room = (base ? base->count : 0) + (over ? over->count : 0), twice;
	AUTO(retention_set) set = retention_set_new();
	if (set && room > 0)
		set->policies = calloc(room, sizeof(*set->policies));
	if (!set || (room > 0 && !set->policies))
		return -ENOMEM;
	int r = retention_copy_all(base, over, NULL, set);
	if (r == 0)
		r = retention_copy_all(over, NULL, NULL, set);
	if (r == 0)
		r = retention_set_settle(set, &twice);
	if (r == 0 && set->count > RETENTION_POLICIES_MAX)
		r = -ENOSPC;
	if (r < 0)
		return r;
	*ret_set = TAKE(set);
	return 0;
}

int retention_remove(
        const struct retention_set *base, const char *name, struct retention_set **ret_set)
{
	if (!retention_find(base, name))
		return -ENOENT;
	AUTO(retention_set) set = retention_set_new();
	if (set)
		set->policies = calloc(base->count, sizeof(*set->policies));
	if (!set || !set->policies)
		return -ENOMEM;
	int r = retention_copy_all(base, NULL, name, set);
	if (r < 0)
		return r;
	*ret_set = TAKE(set);
	return 0;
}

int retention_sign(struct retention_set *set, const char *created_by, uint64_t created_ns)
{
	for (uint32_t i = 0; i < set->count; i++) {
		struct retention_policy *policy = &set->policies[i];
		if (policy->created_ns > 0)
			continue;
		char *author = *policy->created_by ? policy->created_by : strdup(created_by);
		if (!author)
			return -ENOMEM;
		if (author != policy->created_by)
			free(policy->created_by);
		policy->created_by = author;
		policy->created_ns = created_ns;
	}
	return 0;
}

static void retention_json_keep(struct json_writer *json, const char *key, uint64_t keep_ns)
{
	AUTO_BUF text = { 0 };
	retention_put_keep(&text, keep_ns);
	json_key(json, key);
	json_bytes(json, (const char *)text.bytes, text.count);
	json->to->failed |= text.failed;
}

void retention_put_policy_json(const struct retention_policy *policy, struct json_writer *json)
{
	json_object_begin(json);
	json_key_text(json, "name", policy->name);
	json_key_text(json, "selector", policy->selector_text);
	json_key_u64(json, "priority", policy->priority);
	json_key(json, "tiers");
	json_object_begin(json);
	for (int tier = 0; tier < RETENTION_TIERS; tier++)
		retention_json_keep(json, retention_tier_names[tier], policy->tiers.keep_ns[tier]);
	json_object_end(json);
	if (*policy->reason)
		json_key_text(json, "reason", policy->reason);
	if (*policy->created_by)
		json_key_text(json, "created_by", policy->created_by);
	if (policy->created_ns > 0)
		json_key_u64(json, "created_ns", policy->created_ns);
	json_object_end(json);
}

void retention_put_json(const struct retention_set *set, struct json_writer *json)
{
	json_object_begin(json);
	json_key(json, "policies");
	json_array_begin(json);
	for (uint32_t i = 0; set && i < set->count; i++)
		retention_put_policy_json(&set->policies[i], json);
	json_array_end(json);
	json_object_end(json);
}

int retention_digest(const struct retention_set *set, char ret_hex[RETENTION_DIGEST_BYTES])
{
	static_assert(RETENTION_DIGEST_BYTES == SHA256_HEX_BYTES, "the digest is a SHA-256");
	AUTO_BUF text = { 0 };
	struct json_writer json = json_writer_of(&text, false);
	struct sha256 hash;
	retention_put_json(set, &json);
	int r = text.failed ? -ENOMEM : sha256_bytes(text.bytes, text.count, &hash);
	if (r == 0)
		sha256_hex(&hash, ret_hex);
	return r;
}

/* ---- holds ---- */

void retention_hold_fini(struct retention_hold *hold)
{
	selector_free(hold->selector);
	free(hold->selector_text);
	free(hold->created_by);
	free(hold->reason);
	*hold = (struct retention_hold){ 0 };
}

struct retention_holds *retention_holds_new(void)
{
	return calloc(1, sizeof(struct retention_holds));
}

void retention_holds_free(struct retention_holds *holds)
{
	if (!holds)
		return;
	for (uint32_t i = 0; i < holds->count; i++)
		retention_hold_fini(&holds->holds[i]);
	free(holds->holds);
	free(holds);
}

const struct retention_hold *retention_hold_find(
        const struct retention_holds *holds, const char *id)
{
	for (uint32_t i = 0; holds && i < holds->count; i++)
		if (strcmp(holds->holds[i].id, id) == 0)
			return &holds->holds[i];
	return NULL;
}

static int retention_hold_check(const struct retention_holds *holds,
        const struct retention_hold *hold, char *ret_error, size_t error_bytes)
{
	if (!retention_name_is_valid(hold->id)) {
		snprintf(ret_error, error_bytes,
		        "\"%.64s\" is no id; write 1 to %d letters, digits, - _ or .", hold->id,
		        RETENTION_NAME_BYTES_MAX);
		return -EINVAL;
	}
	if ((hold->reason && strlen(hold->reason) > RETENTION_TEXT_BYTES_MAX) ||
	        (hold->created_by && strlen(hold->created_by) > RETENTION_TEXT_BYTES_MAX)) {
		snprintf(ret_error, error_bytes, "the reason is longer than %d bytes; write less",
		        RETENTION_TEXT_BYTES_MAX);
		return -EINVAL;
	}
	if (hold->from_ns >= hold->to_ns) {
		snprintf(ret_error, error_bytes, "holds no time: \"from\" must lie before \"to\"");
		return -EINVAL;
	}
	if (retention_hold_find(holds, hold->id)) {
		snprintf(ret_error, error_bytes, "a hold \"%s\" is there already", hold->id);
		return -EEXIST;
	}
	if (holds->count >= RETENTION_HOLDS_MAX) {
		snprintf(ret_error, error_bytes, "more than %d holds; release one",
		        RETENTION_HOLDS_MAX);
		return -ENOSPC;
	}
	return 0;
}

int retention_hold_add(struct retention_holds *holds, const struct retention_hold *hold,
        const char *selector, char *ret_error, size_t error_bytes)
{
	int r = retention_hold_check(holds, hold, ret_error, error_bytes);
	if (r < 0)
		return r;
	struct retention_hold *grown = reallocarray(
	        holds->holds, (size_t)holds->count + 1, sizeof(*holds->holds));
	if (!grown)
		return -ENOMEM;
	holds->holds = grown;

	struct retention_hold added = *hold;
	added.selector = NULL;
	added.selector_text = NULL;
	r = retention_read_selector(
	        selector, &added.selector, &added.selector_text, ret_error, error_bytes);
	if (r < 0)
		return r;
	added.created_by = strdup(hold->created_by ? hold->created_by : "");
	added.reason = strdup(hold->reason ? hold->reason : "");
	if (!added.created_by || !added.reason) {
		retention_hold_fini(&added);
		return -ENOMEM;
	}
	holds->holds[holds->count++] = added;
	return 0;
}

int retention_hold_remove(struct retention_holds *holds, const char *id)
{
	const struct retention_hold *hold = retention_hold_find(holds, id);
	if (!hold)
		return -ENOENT;
	uint32_t at = (uint32_t)(hold - holds->holds);
	retention_hold_fini(&holds->holds[at]);
	holds->count--;
	memmove(&holds->holds[at], &holds->holds[at + 1],
	        (holds->count - at) * sizeof(*holds->holds));
	return 0;
}

void retention_put_hold_json(const struct retention_hold *hold, struct json_writer *json)
{
	json_object_begin(json);
	json_key_text(json, "id", hold->id);
	json_key_text(json, "selector", hold->selector_text);
	json_key_u64(json, "from_ns", hold->from_ns);
	if (hold->to_ns != RETENTION_FOREVER)
		json_key_u64(json, "to_ns", hold->to_ns);
	if (hold->until_ns != RETENTION_FOREVER)
		json_key_u64(json, "until_ns", hold->until_ns);
	json_key_text(json, "reason", hold->reason);
	json_key_text(json, "created_by", hold->created_by);
	json_key_u64(json, "created_ns", hold->created_ns);
	json_object_end(json);
}

void retention_holds_put_json(const struct retention_holds *holds, struct json_writer *json)
{
	json_object_begin(json);
	json_key(json, "holds");
	json_array_begin(json);
	for (uint32_t i = 0; holds && i < holds->count; i++)
		retention_put_hold_json(&holds->holds[i], json);
	json_array_end(json);
	json_object_end(json);
}

static bool retention_matches(
        const struct selector *selector, const struct retention_subject *subject)
{
	return selector_matches_of(selector, subject->tenant, subject->dict, subject->series);
}

static bool retention_hold_is_of(
        const struct retention_hold *hold, uint64_t from_ns, uint64_t to_ns, uint64_t now_ns)
{
	return hold->until_ns > now_ns && hold->from_ns < to_ns && from_ns < hold->to_ns;
}

bool retention_hold_covers(const struct retention_hold *hold, struct retention_subject subject,
        uint64_t from_ns, uint64_t to_ns, uint64_t now_ns)
{
	return retention_hold_is_of(hold, from_ns, to_ns, now_ns) &&
	       retention_matches(hold->selector, &subject);
}

enum selector_answer retention_hold_judge(const struct retention_hold *hold,
        struct selector_known known, uint64_t from_ns, uint64_t to_ns, uint64_t now_ns)
{
	return retention_hold_is_of(hold, from_ns, to_ns, now_ns)
	               ? selector_judge(hold->selector, known)
	               : SELECTOR_NONE;
}

enum selector_answer retention_holds_judge(const struct retention_holds *holds,
        struct selector_known known, uint64_t from_ns, uint64_t to_ns, uint64_t now_ns)
{
	enum selector_answer answer = SELECTOR_NONE;
	for (uint32_t i = 0; holds && i < holds->count && answer != SELECTOR_ALL; i++) {
		enum selector_answer one = retention_hold_judge(
		        &holds->holds[i], known, from_ns, to_ns, now_ns);
		if (one != SELECTOR_NONE)
			answer = one;
	}
	return answer;
}

const struct retention_hold *retention_held_by(const struct retention_holds *holds,
        struct retention_subject subject, uint64_t from_ns, uint64_t to_ns, uint64_t now_ns)
{
	for (uint32_t i = 0; holds && i < holds->count; i++)
		if (retention_hold_covers(&holds->holds[i], subject, from_ns, to_ns, now_ns))
			return &holds->holds[i];
	return NULL;
}

/* ---- evaluation ---- */

/* Floor, ceiling, and then again coarser tiers not shorter than finer ones. */
static void retention_clamp(
        const struct retention_bounds *bounds, struct retention_outcome *outcome)
{
	for (int tier = 0; tier < RETENTION_TIERS; tier++) {
		uint64_t said_ns = outcome->keep.keep_ns[tier], keep_ns = said_ns;
		if (keep_ns > bounds->ceiling.keep_ns[tier])
			keep_ns = bounds->ceiling.keep_ns[tier];
		if (keep_ns < bounds->floor.keep_ns[tier])
			keep_ns = bounds->floor.keep_ns[tier];
		if (tier > 0 && keep_ns < outcome->keep.keep_ns[tier - 1])
			keep_ns = outcome->keep.keep_ns[tier - 1];
		outcome->keep.keep_ns[tier] = keep_ns;
		outcome->clamps[tier] = keep_ns > said_ns   ? RETENTION_RAISED
		                        : keep_ns < said_ns ? RETENTION_LOWERED
		                                            : RETENTION_AS_SAID;
	}
}

static bool retention_highest(const struct retention_set *set,
        const struct retention_subject *subject, uint32_t *ret_priority)
{
	bool found = false;
	for (uint32_t i = 0; set && i < set->count; i++) {
		const struct retention_policy *policy = &set->policies[i];
		if (found && policy->priority <= *ret_priority)
			continue;
		if (!retention_matches(policy->selector, subject))
			continue;
		*ret_priority = policy->priority;
		found = true;
	}
	return found;
}

struct retention_outcome retention_evaluate(const struct retention_set *set,
        const struct retention_limits *limits, struct retention_subject subject)
{
	struct retention_outcome outcome;
	for (int tier = 0; tier < RETENTION_TIERS; tier++) {
		outcome.keep.keep_ns[tier] = RETENTION_FOREVER;
		outcome.policies[tier] = RETENTION_NO_POLICY;
	}

	uint32_t priority = 0;
	bool found = retention_highest(set, &subject, &priority);
	for (uint32_t i = 0; found && i < set->count; i++) {
		const struct retention_policy *policy = &set->policies[i];
		if (policy->priority != priority || !retention_matches(policy->selector, &subject))
			continue;
		for (int tier = 0; tier < RETENTION_TIERS; tier++) {
			uint64_t keep_ns = policy->tiers.keep_ns[tier];
			if (outcome.policies[tier] != RETENTION_NO_POLICY &&
			        keep_ns <= outcome.keep.keep_ns[tier])
				continue;
			outcome.keep.keep_ns[tier] = keep_ns;
			outcome.policies[tier] = i;
		}
	}
	retention_clamp(retention_limits_of(limits, subject.tenant), &outcome);
	return outcome;
}

struct retention_outcome retention_longest(
        const struct retention_outcome *a, const struct retention_outcome *b)
{
	struct retention_outcome longest = *a;
	for (int tier = 0; tier < RETENTION_TIERS; tier++)
		if (b->keep.keep_ns[tier] > longest.keep.keep_ns[tier])
			longest.keep.keep_ns[tier] = b->keep.keep_ns[tier];
	return longest;
}

uint64_t retention_expires_ns(
        const struct retention_outcome *outcome, enum retention_tier tier, uint64_t to_ns)
{
	uint64_t keep_ns = outcome->keep.keep_ns[tier];
	return keep_ns > RETENTION_FOREVER - to_ns ? RETENTION_FOREVER : to_ns + keep_ns;
}

struct retention_reason retention_explain(const struct retention_set *set, uint32_t policy,
        struct retention_subject subject, const struct retention_outcome *outcome)
{
	const struct retention_policy *asked = &set->policies[policy];
	uint32_t matcher = selector_mismatch_of(
	        asked->selector, subject.tenant, subject.dict, subject.series);
	if (matcher != SELECTOR_MATCHES)
		return (struct retention_reason){ RETENTION_NO_MATCH, matcher };

	uint32_t winner = outcome->policies[RETENTION_DETAIL];
	if (winner != RETENTION_NO_POLICY && set->policies[winner].priority > asked->priority)
		return (struct retention_reason){ RETENTION_LOWER, SELECTOR_MATCHES };

	uint32_t tiers = 0;
	for (int tier = 0; tier < RETENTION_TIERS; tier++)
		tiers += outcome->policies[tier] == policy;
	return (struct retention_reason){ tiers == RETENTION_TIERS ? RETENTION_WINS
		                          : tiers > 0              ? RETENTION_WINS_SOME
		                                                   : RETENTION_SHORTER,
		SELECTOR_MATCHES };
}

static const char *const retention_ops[] = { "=", "!=", "=~", "!~" };

static void retention_put_mismatch(const struct retention_policy *policy,
        struct retention_subject subject, uint32_t matcher, struct buf *to)
{
	const struct dict *dict = subject.dict;
	const struct selector *selector = policy->selector;
	if (matcher == SELECTOR_WRONG_TYPE) {
		buf_printf(to, "does not match: the type is %s, not %s",
		        dict_text(dict, dict_get_series(dict, subject.series)->type),
		        selector_type(selector));
		return;
	}
	const char *label = selector_matcher_name(selector, matcher);
	uint32_t name = dict_find_string(dict, label, strlen(label));
	uint32_t value = name == ID_NONE ? 0 : dict_label_value(dict, subject.series, name);
	bool is_of_tenant = subject.tenant && strcmp(label, SELECTOR_TENANT) == 0;
	buf_printf(to, "does not match: %s is \"%s\", not %s\"%s\"", label,
	        is_of_tenant ? subject.tenant : dict_text(dict, value),
	        retention_ops[selector_matcher_op(selector, matcher)],
	        selector_matcher_value(selector, matcher));
}

void retention_put_reason(const struct retention_set *set, uint32_t policy,
        struct retention_subject subject, const struct retention_outcome *outcome,
        struct retention_reason reason, struct buf *to)
{
	const struct retention_policy *asked = &set->policies[policy];
	uint32_t winner = outcome->policies[RETENTION_DETAIL];
	switch (reason.verdict) {
	case RETENTION_WINS:
		buf_printf(to, "wins: the highest priority that matches (%u)", asked->priority);
		return;
	case RETENTION_WINS_SOME:
		buf_printf(to, "shares priority %u and is the longest at", asked->priority);
		for (int tier = 0; tier < RETENTION_TIERS; tier++)
			if (outcome->policies[tier] == policy)
				buf_printf(to, " %s", retention_tier_names[tier]);
		return;
	case RETENTION_SHORTER:
		buf_printf(to, "tie at priority %u: shorter than, or as long as, \"%s\"",
		        asked->priority,
		        winner == RETENTION_NO_POLICY ? "" : set->policies[winner].name);
		return;
	case RETENTION_LOWER:
		buf_printf(to, "lower priority: %u, \"%s\" has %u", asked->priority,
		        set->policies[winner].name, set->policies[winner].priority);
		return;
	case RETENTION_NO_MATCH:
		retention_put_mismatch(asked, subject, reason.matcher, to);
		return;
	}
}
