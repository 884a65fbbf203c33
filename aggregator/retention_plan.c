/*
 * One pass over the inventory. What policies say of a series is computed once per series and
 * generation: most of them are in many windows. A series of several generations is counted once,
 * by the hash of what it is.
 */

#include "aggregator/retention_plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/id_map.h"
#include "core/reader.h"
#include "core/sha256.h"

#define PLAN_SERIES_MAX (1u << 26)

struct planning {
	const struct plan_options *options;
	struct retention_plan *plan;
	struct id_map *known;   /* (generation, series, tenant) -> place in series */
	struct buf series;      /* struct plan_series */
	struct id_map *ids;     /* what a series is, and its tenant -> id of plan_series */
	struct id_map *in_rows; /* (row, id): each is counted once */
	struct buf unit_series; /* u32: places of those of the unit at hand */
	struct id_map *rows;    /* what a row is of -> its place in the plan */
	struct buf row_text;
	struct store_window_name last_window;
	bool has_window;
	uint32_t tenant; /* of the unit at hand: its place in the plan's list */
	int failed;
};

struct plan_series {
	struct retention_outcome outcome;
	uint32_t id; /* the same in every generation */
};

/* What is decided of one unit, over all its series. */
struct plan_unit {
	struct retention_outcome longest;
	bool is_mixed; /* detail of some series has expired, of others not */
	bool is_held;
};

struct retention_outcome retention_plan_outcome(
        const struct plan_options *options, struct retention_subject subject)
{
	struct retention_outcome outcome = retention_evaluate(
	        options->sets[0], options->limits, subject);
	for (uint32_t i = 1; i < options->sets_count; i++) {
		struct retention_outcome other = retention_evaluate(
		        options->sets[i], options->limits, subject);
		outcome = retention_longest(&outcome, &other);
	}
	return outcome;
}

static uint32_t plan_policy_at(const struct retention_outcome *outcome, enum retention_tier tier)
{
	uint32_t policy = outcome->policies[tier];
	return policy == RETENTION_NO_POLICY ? RETENTION_POLICIES_MAX : policy;
}

/* Slots of an id_map go by low bits, which small numbers are not spread over. */
static struct hash128 plan_key(uint64_t low, uint64_t high)
{
	return (struct hash128){ low * UINT64_C(0x9e3779b97f4a7c15), high + 1 };
}

/* A series that this generation has not shown before. */
static int plan_add_series(struct planning *planning, struct retention_subject subject)
{
	struct plan_series added = { retention_plan_outcome(planning->options, subject), 0 };
	struct hash128 what = dict_series_hash(subject.dict, subject.series);
	bool is_new;
	what.high ^= (planning->tenant + UINT64_C(1)) * UINT64_C(0xff51afd7ed558ccd);
	int r = id_map_intern(planning->ids, what, &added.id, &is_new);
	if (r < 0)
		return r;
	if (is_new)
		planning->plan->covers[plan_policy_at(&added.outcome, RETENTION_DETAIL)].series++;
	buf_put(&planning->series, &added, sizeof(added));
	return planning->series.failed ? -ENOMEM : 0;
}

/* Borrowed until the next. */
static int plan_series_get(struct planning *planning, const struct store_inventory_unit *unit,
        uint32_t place, const struct plan_series **ret_series)
{
	uint64_t id = (uint64_t)unit->series[place] << 32 | unit->dict_generation;
	uint32_t at;
	bool added;
	int r = id_map_intern(planning->known, plan_key(id, planning->tenant), &at, &added);
	if (r == 0 && added)
		r = plan_add_series(planning, plan_subject(unit, place));
	if (r < 0)
		return r;
	buf_put_u32(&planning->unit_series, at);
	*ret_series = (const struct plan_series *)(const void *)planning->series.bytes + at;
	return planning->unit_series.failed ? -ENOMEM : 0;
}

static void plan_unit_take(struct plan_unit *unit, const struct retention_outcome *outcome)
{
	for (int tier = 0; tier < RETENTION_TIERS; tier++) {
		if (outcome->keep.keep_ns[tier] <= unit->longest.keep.keep_ns[tier])
			continue;
		unit->longest.keep.keep_ns[tier] = outcome->keep.keep_ns[tier];
		unit->longest.policies[tier] = outcome->policies[tier];
		unit->longest.clamps[tier] = outcome->clamps[tier];
	}
}

static int plan_judge(struct planning *planning, const struct store_inventory_unit *unit,
        struct plan_unit *ret_judged)
{
	const struct plan_options *options = planning->options;
	uint64_t from_ns = unit->window.from_ns, to_ns = unit->window.to_ns;
	struct plan_unit judged = { 0 };
	uint32_t expired = 0;
	buf_reset(&planning->unit_series);
	for (uint32_t i = 0; i < unit->series_count; i++) {
		const struct plan_series *series;
		int r = plan_series_get(planning, unit, i, &series);
		if (r < 0)
			return r;
		if (i == 0)
			judged.longest = series->outcome;
		else
			plan_unit_take(&judged, &series->outcome);
		expired += retention_expires_ns(&series->outcome, RETENTION_DETAIL, to_ns) <=
		           options->now_ns;
		judged.is_held |= retention_held_by(options->holds, plan_subject(unit, i), from_ns,
		                          to_ns, options->now_ns) != NULL;
	}
	judged.is_mixed = expired > 0 && expired < unit->series_count;
	*ret_judged = judged;
	return 0;
}

/* ---- rows and tenants ---- */

static struct plan_tenant *plan_tenant_get(struct planning *planning, const char *name)
{
	struct retention_plan *plan = planning->plan;
	for (uint32_t i = 0; i < plan->tenants_count; i++)
		if (strcmp(plan->tenants[i].name, name) == 0)
			return &plan->tenants[i];
	struct plan_tenant *tenants = reallocarray(
	        plan->tenants, (size_t)plan->tenants_count + 1, sizeof(*tenants));
	char *copy = tenants ? strdup(name) : NULL;
	if (tenants)
		plan->tenants = tenants;
	if (!copy)
		return NULL;
	tenants[plan->tenants_count] = (struct plan_tenant){ .name = copy };
	return &tenants[plan->tenants_count++];
}

static const char *plan_policy_name(
        const struct planning *planning, const struct plan_unit *judged, enum retention_tier tier)
{
	uint32_t policy = judged->longest.policies[tier];
	const struct retention_set *set = planning->options->sets[0];
	return policy == RETENTION_NO_POLICY || !set ? "none" : set->policies[policy].name;
}

static int plan_row_add(struct retention_plan *plan, const struct store_inventory_unit *unit,
        const char *policy, enum retention_tier tier)
{
	if (plan->rows_count == plan->rows_capacity) {
		uint32_t capacity = plan->rows_capacity ? plan->rows_capacity * 2 : 16;
		struct plan_row *rows = reallocarray(plan->rows, capacity, sizeof(*rows));
		if (!rows)
			return -ENOMEM;
		plan->rows = rows;
		plan->rows_capacity = capacity;
	}
	struct plan_row row = { .tier = tier, .oldest_ns = UINT64_MAX };
	row.tenant = strdup(unit->tenant);
	row.service = strdup(unit->service);
	if (!row.tenant || !row.service) {
		free(row.tenant);
		free(row.service);
		return -ENOMEM;
	}
	snprintf(row.policy, sizeof(row.policy), "%s", policy);
	plan->rows[plan->rows_count++] = row;
	return 0;
}

/* There are as many rows as services, and as many units as all their windows. */
static int plan_row_get(struct planning *planning, const struct store_inventory_unit *unit,
        const char *policy, enum retention_tier tier, struct plan_row **ret_row)
{
	struct buf *text = &planning->row_text;
	uint32_t at;
	bool is_new;
	buf_reset(text);
	buf_put(text, unit->tenant, strlen(unit->tenant) + 1);
	buf_put(text, unit->service, strlen(unit->service) + 1);
	buf_put(text, policy, strlen(policy) + 1);
	buf_put_u8(text, (uint8_t)tier);
	if (text->failed)
		return -ENOMEM;
	int r = id_map_intern(
	        planning->rows, hash128_bytes(text->bytes, text->count), &at, &is_new);
	if (r == 0 && is_new)
		r = plan_row_add(planning->plan, unit, policy, tier);
	if (r == 0)
		*ret_row = &planning->plan->rows[at];
	return r;
}

static bool plan_window_equal(const struct store_window_name *a, const struct store_window_name *b)
{
	return a->level == b->level && a->number == b->number && a->from_ns == b->from_ns &&
	       a->to_ns == b->to_ns;
}

/* True the first time, while windows come one after the other. */
static bool plan_is_new_window(
        const struct store_window_name *window, struct store_window_name *last, bool *has)
{
	if (*has && plan_window_equal(window, last))
		return false;
	*last = *window;
	*has = true;
	return true;
}

/* Those of the unit at hand, each once in its row. */
static int plan_count_series(struct planning *planning, struct plan_row *row)
{
	const struct plan_series *series = (const void *)planning->series.bytes;
	uint64_t number = (uint64_t)(row - planning->plan->rows);
	struct reader places = reader_of(planning->unit_series.bytes, planning->unit_series.count);
	while (reader_left(&places) > 0) {
		uint32_t ignored;
		bool is_new;
		int r = id_map_intern(planning->in_rows,
		        plan_key(number << 32 | series[reader_u32(&places)].id, 0), &ignored,
		        &is_new);
		if (r < 0)
			return r;
		row->series += is_new;
	}
	return 0;
}

static int plan_count(struct planning *planning, const struct store_inventory_unit *unit,
        const struct plan_unit *judged, enum retention_tier tier, bool is_now)
{
	bool is_last = tier != RETENTION_DETAIL &&
	               retention_expires_ns(&judged->longest, RETENTION_1D, unit->window.to_ns) ==
	                       retention_expires_ns(&judged->longest, tier, unit->window.to_ns);
	struct retention_plan *plan = planning->plan;
	struct plan_row *row = NULL;
	int r = plan_row_get(planning, unit, plan_policy_name(planning, judged, tier), tier, &row);
	if (r < 0 || !row)
		return r < 0 ? r : -ENOMEM;
	uint64_t bytes = tier == RETENTION_DETAIL ? unit->bytes_detail : unit->bytes_sums;
	uint64_t rows = tier == RETENTION_DETAIL ? unit->rows : 0;
	bool is_new = plan_is_new_window(&unit->window, &row->last_window, &row->has_window);
	uint64_t *newest_ns = is_now ? &row->newest_ns : &row->newest_later_ns;
	r = plan_count_series(planning, row);
	if (r < 0)
		return r;
	row->is_last |= is_last;
	if (unit->window.from_ns < row->oldest_ns)
		row->oldest_ns = unit->window.from_ns;
	if (unit->window.to_ns > *newest_ns)
		*newest_ns = unit->window.to_ns;
	*(is_now ? &row->windows_now : &row->windows_later) += is_new;
	*(is_now ? &row->rows_now : &row->rows_later) += rows;
	*(is_now ? &row->bytes_now : &row->bytes_later) += bytes;
	if (!is_now) {
		plan->bytes_later += bytes;
		return 0;
	}
	struct plan_tenant *tenant = plan_tenant_get(planning, unit->tenant);
	if (!tenant)
		return -ENOMEM;
	tenant->bytes_now += bytes;
	plan->bytes_now += bytes;
	plan->rows_now += rows;
	return 0;
}

/* ---- one unit ---- */

enum plan_when { PLAN_KEPT, PLAN_LATER, PLAN_NOW };

static enum plan_when plan_when(const struct plan_options *options, const struct plan_unit *judged,
        enum retention_tier tier, uint64_t to_ns)
{
	uint64_t expires_ns = retention_expires_ns(&judged->longest, tier, to_ns);
	if (expires_ns <= options->now_ns)
		return PLAN_NOW;
	return expires_ns - options->now_ns <= options->horizon_ns ? PLAN_LATER : PLAN_KEPT;
}

static int plan_put_item(
        struct planning *planning, const struct store_inventory_unit *unit, uint32_t parts)
{
	struct retention_plan *plan = planning->plan;
	struct store_expire_item item;
	memset(&item, 0, sizeof(item)); /* its padding is part of the digest */
	item.window.level = unit->window.level;
	item.window.number = unit->window.number;
	item.window.from_ns = unit->window.from_ns;
	item.window.to_ns = unit->window.to_ns;
	item.unit = unit->unit;
	item.parts = parts;
	buf_put(&plan->items, &item, sizeof(item));
	plan->windows_now += plan_is_new_window(
	        &unit->window, &planning->last_window, &planning->has_window);
	return plan->items.failed ? -ENOMEM : 0;
}

static int plan_decide(struct planning *planning, const struct store_inventory_unit *unit,
        const struct plan_unit *judged, uint32_t visible)
{
	const struct plan_options *options = planning->options;
	enum retention_tier tier = RETENTION_10M + unit->window.level;
	uint64_t to_ns = unit->window.to_ns;
	uint32_t parts = 0;
	int r = 0;
	if (visible & STORE_PART_DETAIL) {
		enum plan_when when = plan_when(options, judged, RETENTION_DETAIL, to_ns);
		if (when != PLAN_KEPT)
			r = plan_count(planning, unit, judged, RETENTION_DETAIL, when == PLAN_NOW);
		parts |= when == PLAN_NOW ? STORE_PART_DETAIL : 0;
		if (judged->is_mixed)
			planning->plan->bytes_mixed += unit->bytes_detail;
	}
	if (r == 0 && (visible & STORE_PART_SUMS)) {
		enum plan_when when = plan_when(options, judged, tier, to_ns);
		bool is_last = plan_when(options, judged, RETENTION_1D, to_ns) == PLAN_NOW;
		if (when == PLAN_NOW && !unit->is_rolled_up && !is_last) {
			planning->plan->bytes_waiting += unit->bytes_sums;
			when = PLAN_KEPT;
		}
		if (when != PLAN_KEPT)
			r = plan_count(planning, unit, judged, tier, when == PLAN_NOW);
		parts |= when == PLAN_NOW ? STORE_PART_SUMS : 0;
	}
	if (r == 0 && parts)
		r = plan_put_item(planning, unit, parts);
	return r;
}

static void plan_note_mixed(struct planning *planning, const struct store_inventory_unit *unit)
{
	struct buf *mixed = &planning->plan->mixed;
	struct store_window_name last;
	if (mixed->count >= sizeof(last)) {
		memcpy(&last, mixed->bytes + mixed->count - sizeof(last), sizeof(last));
		if (plan_window_equal(&last, &unit->window))
			return;
	}
	buf_put(mixed, &unit->window, sizeof(unit->window));
}

static int plan_visit(void *owner, const struct store_inventory_unit *unit)
{
	struct planning *planning = owner;
	struct retention_plan *plan = planning->plan;
	uint32_t visible = unit->parts & ~unit->hidden;
	uint64_t bytes = unit->bytes_window +
	                 (visible & STORE_PART_DETAIL ? unit->bytes_detail : 0) +
	                 (visible & STORE_PART_SUMS ? unit->bytes_sums : 0);
	plan->bytes_visible += bytes;
	plan->bytes_hidden += unit->bytes_detail + unit->bytes_sums + unit->bytes_window - bytes;
	if (unit->is_corrupt) {
		plan->units_unreadable++;
		return 0;
	}
	if (unit->is_open || unit->unit == STORE_UNIT_NONE)
		return 0;
	struct plan_tenant *tenant = plan_tenant_get(planning, unit->tenant);
	if (!tenant)
		return planning->failed = -ENOMEM;
	tenant->bytes += bytes;
	planning->tenant = (uint32_t)(tenant - plan->tenants);
	if (visible == 0 || unit->series_count == 0)
		return 0;

	struct plan_unit judged;
	int r = plan_judge(planning, unit, &judged);
	if (r < 0)
		return planning->failed = r;
	struct plan_cover *cover = &plan->covers[plan_policy_at(&judged.longest, RETENTION_DETAIL)];
	cover->units++;
	cover->bytes += bytes;
	if (judged.is_held) {
		plan->bytes_held += bytes;
		return 0;
	}
	if (judged.is_mixed && (visible & STORE_PART_DETAIL))
		plan_note_mixed(planning, unit);
	r = plan_decide(planning, unit, &judged, visible);
	return r < 0 ? planning->failed = r : 0;
}

int retention_plan_make(const struct plan_options *options, struct retention_plan *plan)
{
	struct planning planning = { .options = options, .plan = plan };
	planning.known = id_map_new(PLAN_SERIES_MAX);
	planning.ids = id_map_new(PLAN_SERIES_MAX);
	planning.in_rows = id_map_new(PLAN_SERIES_MAX);
	planning.rows = id_map_new(PLAN_SERIES_MAX);
	int r = planning.known && planning.ids && planning.in_rows && planning.rows ? 0 : -ENOMEM;
	if (r == 0)
		r = store_inventory(options->store,
		        (struct store_inventory_options){
		                .wants_series = true, .pass = options->pass },
		        plan_visit, &planning);
	if (r == 0 && (plan->items.failed || plan->mixed.failed))
		r = -ENOMEM;
	id_map_free(planning.known);
	id_map_free(planning.ids);
	id_map_free(planning.in_rows);
	id_map_free(planning.rows);
	buf_fini(&planning.series);
	buf_fini(&planning.unit_series);
	buf_fini(&planning.row_text);
	return planning.failed < 0 ? planning.failed : r;
}

void retention_plan_fini(struct retention_plan *plan)
{
	for (uint32_t i = 0; i < plan->rows_count; i++) {
		free(plan->rows[i].tenant);
		free(plan->rows[i].service);
	}
	for (uint32_t i = 0; i < plan->tenants_count; i++)
		free(plan->tenants[i].name);
	free(plan->rows);
	free(plan->tenants);
	buf_fini(&plan->items);
	buf_fini(&plan->mixed);
}

int retention_plan_id(const struct retention_plan *plan, const struct retention_set *set,
        char ret_id[PLAN_ID_BYTES])
{
	AUTO_BUF text = { 0 };
	char digest[RETENTION_DIGEST_BYTES], hex[SHA256_HEX_BYTES];
	struct sha256 hash;
	int r = retention_digest(set, digest);
	if (r < 0)
		return r;
	buf_put(&text, digest, strlen(digest));
	buf_put_u64(&text, plan->bytes_now);
	buf_put(&text, plan->items.bytes, plan->items.count);
	r = text.failed ? -ENOMEM : sha256_bytes(text.bytes, text.count, &hash);
	if (r < 0)
		return r;
	sha256_hex(&hash, hex);
	snprintf(ret_id, PLAN_ID_BYTES, "%.16s", hex);
	return 0;
}
