/*
 * usage: what takes the space, by what is asked for, how fast it grows, and when the file system is
 * full. Growth is what came for the last days there is data of, as it lies now, part by part over
 * the time that its policy keeps it: what is there of a tier that is kept for a day came in a day.
 *
 * By a label the bytes of a unit are its series' in equal shares, which is an estimate.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "aggregator/admin_call.h"
#include "aggregator/usage_forecast.h"
#include "core/id_map.h"

#define USAGE_DIMENSIONS_MAX 5
#define USAGE_ROWS_MAX       100000
#define USAGE_SHOWN_MAX      8000 /* in one answer */
#define USAGE_SERIES_MAX     (1u << 26)
#define USAGE_GROWTH_NS      (7 * USAGE_DAY_NS)
#define USAGE_GROWTH_MIN_NS  (3600 * NS_PER_S)

enum usage_dimension {
	USAGE_TENANT,
	USAGE_SERVICE,
	USAGE_TYPE,
	USAGE_TIER,
	USAGE_STATE,
	USAGE_LABEL
};

static const char *const usage_names[] = { "tenant", "service", "type", "tier", "state" };
static const char *const usage_columns[] = { "bytes", "rows", "units", "series", "oldest_ns",
	"newest_ns", "bytes_per_day" };

struct usage_by {
	enum usage_dimension dimension;
	char name[RETENTION_NAME_BYTES_MAX + 1]; /* of a label, or as in usage_names */
	bool is_known;                           /* somebody has the label */
};

struct usage_row {
	char *values[USAGE_DIMENSIONS_MAX];
	uint64_t bytes, rows, units, series;
	uint64_t oldest_ns, newest_ns;
	double per_day;
};

/* A series of one generation. */
struct usage_series {
	struct retention_tiers keep;
	uint32_t id; /* the same in every generation */
};

struct usage {
	struct admin_call *call;
	struct keeper_copy copy;
	struct plan_options options;
	struct usage_by by[USAGE_DIMENSIONS_MAX];
	uint32_t by_count;
	bool has_label;
	struct usage_row *rows;
	uint32_t rows_count, rows_capacity;
	struct id_map *places; /* what is in a row's values -> its place */
	struct buf value_text;
	struct id_map *known; /* (generation, series, tenant) -> place in series */
	struct buf series;    /* struct usage_series */
	struct id_map *ids;   /* what a series is, and its tenant -> id */
	struct id_map *in_rows;
	struct buf unit_series; /* u32: ids of those of the unit at hand */
	uint64_t left_out;      /* bytes of rows that had no room */
	uint64_t bytes, open_bytes, detail_rows;
	uint64_t now_ns, span_ns;
	struct usage_forecast forecast;
};

/* What of a unit is told: the whole of it, or one series' share. */
struct usage_part {
	const struct store_inventory_unit *unit;
	enum retention_tier tier;
	bool is_hidden;
	uint64_t bytes, rows;
	uint64_t keep_ns;
	uint32_t series; /* place of the series in the unit; UINT32_MAX: of all of them */
};

static void usage_free(struct usage *usage)
{
	if (!usage)
		return;
	for (uint32_t i = 0; i < usage->rows_count; i++)
		for (uint32_t j = 0; j < usage->by_count; j++)
			free(usage->rows[i].values[j]);
	free(usage->rows);
	keeper_copy_fini(&usage->copy);
	id_map_free(usage->places);
	id_map_free(usage->known);
	id_map_free(usage->ids);
	id_map_free(usage->in_rows);
	buf_fini(&usage->value_text);
	buf_fini(&usage->series);
	buf_fini(&usage->unit_series);
	free(usage);
}
DEFINE_AUTO(usage);

static struct usage *usage_new(struct admin_call *call)
{
	AUTO(usage) usage = calloc(1, sizeof(*usage));
	if (!usage)
		return NULL;
	usage->call = call;
	if (keeper_copy_take(call->keeper, &usage->copy) < 0)
		return NULL;
	usage->options = keeper_copy_plan_of(call->keeper, &usage->copy, usage->copy.sets, 0);
	usage->now_ns = usage->options.now_ns;
	usage->places = id_map_new(USAGE_ROWS_MAX);
	usage->known = id_map_new(USAGE_SERIES_MAX);
	usage->ids = id_map_new(USAGE_SERIES_MAX);
	usage->in_rows = id_map_new(USAGE_SERIES_MAX);
	if (!usage->places || !usage->known || !usage->ids || !usage->in_rows)
		return NULL;
	return TAKE(usage);
}

static bool usage_is_among(const char *const *names, size_t count, const char *name, size_t *at)
{
	for (*at = 0; *at < count; ++*at)
		if (strcmp(names[*at], name) == 0)
			return true;
	return false;
}

static int usage_add_by(struct admin_call *call, struct usage *usage, const char *name)
{
	size_t at;
	if (usage->by_count == USAGE_DIMENSIONS_MAX || !*name ||
	        usage_is_among(usage_columns, COUNT_OF(usage_columns), name, &at))
		return admin_refuse(call, WIRE_INVALID,
		        "--by %s: write up to %d of tenant, service, type, tier, state, and "
		        "labels",
		        name, USAGE_DIMENSIONS_MAX);
	for (uint32_t i = 0; i < usage->by_count; i++)
		if (strcmp(usage->by[i].name, name) == 0)
			return admin_refuse(
			        call, WIRE_INVALID, "--by: %s is named twice; write it once", name);
	struct usage_by *by = &usage->by[usage->by_count++];
	snprintf(by->name, sizeof(by->name), "%s", name);
	by->dimension = USAGE_LABEL;
	if (usage_is_among(usage_names, COUNT_OF(usage_names), name, &at))
		by->dimension = (enum usage_dimension)at;
	usage->has_label |= by->dimension == USAGE_LABEL;
	return 0;
}

static int usage_parse_by(struct admin_call *call, struct usage *usage)
{
	const char *text = json_body_text(call->body, "by");
	int r = 0;
	if (!*text)
		text = "service,tier";
	while (*text && r == 0) {
		char name[RETENTION_NAME_BYTES_MAX + 1];
		size_t count = strcspn(text, ",");
		snprintf(name, sizeof(name), "%.*s",
		        (int)(count < sizeof(name) ? count : sizeof(name) - 1), text);
		r = usage_add_by(call, usage, name);
		text += count + (text[count] == ',');
	}
	return r;
}

/* ---- rows ---- */

static const char *usage_label(
        struct usage_by *by, const struct store_inventory_unit *unit, uint32_t place)
{
	uint32_t name = unit->dict && place != UINT32_MAX
	                        ? dict_find_string(unit->dict, by->name, strlen(by->name))
	                        : ID_NONE;
	if (name == ID_NONE)
		return "";
	by->is_known = true;
	return dict_text(unit->dict, dict_label_value(unit->dict, unit->series[place], name));
}

static const char *usage_value(struct usage_by *by, const struct usage_part *part)
{
	switch (by->dimension) {
	case USAGE_TENANT:
		return part->unit->tenant;
	case USAGE_SERVICE:
		return part->unit->service;
	case USAGE_TYPE:
		return part->unit->type;
	case USAGE_TIER:
		return retention_tier_name(part->tier);
	case USAGE_STATE:
		return part->unit->is_open ? "open" : part->is_hidden ? "hidden" : "kept";
	case USAGE_LABEL:
		return usage_label(by, part->unit, part->series);
	}
	return "";
}

static int usage_row_add(struct usage *usage, const struct usage_part *part)
{
	if (usage->rows_count == usage->rows_capacity) {
		uint32_t capacity = usage->rows_capacity ? usage->rows_capacity * 2 : 64;
		struct usage_row *rows = reallocarray(usage->rows, capacity, sizeof(*rows));
		if (!rows)
			return -ENOMEM;
		usage->rows = rows;
		usage->rows_capacity = capacity;
	}
	struct usage_row *row = &usage->rows[usage->rows_count++];
	*row = (struct usage_row){ .oldest_ns = UINT64_MAX };
	for (uint32_t j = 0; j < usage->by_count; j++) {
		row->values[j] = strdup(usage_value(&usage->by[j], part));
		if (!row->values[j])
			return -ENOMEM;
	}
	return 0;
}

/* *ret_row NULL: no room for another. */
static int usage_row_get(
        struct usage *usage, const struct usage_part *part, struct usage_row **ret_row)
{
	uint32_t at;
	bool is_new;
	buf_reset(&usage->value_text);
	for (uint32_t j = 0; j < usage->by_count; j++) {
		const char *value = usage_value(&usage->by[j], part);
		buf_put(&usage->value_text, value, strlen(value) + 1);
	}
	if (usage->value_text.failed)
		return -ENOMEM;
	int r = id_map_intern(usage->places,
	        hash128_bytes(usage->value_text.bytes, usage->value_text.count), &at, &is_new);
	if (r == 0 && is_new)
		r = usage_row_add(usage, part);
	if (r < 0 && r != -ENOSPC)
		return r;
	*ret_row = r == 0 ? &usage->rows[at] : NULL;
	return 0;
}

/* ---- series ---- */

static int usage_add_series(
        struct usage *usage, const struct store_inventory_unit *unit, uint32_t place)
{
	struct retention_subject subject = plan_subject(unit, place);
	struct retention_outcome outcome = retention_plan_outcome(&usage->options, subject);
	struct usage_series added = { .keep = outcome.keep };
	struct hash128 what = dict_series_hash(subject.dict, subject.series);
	struct hash128 tenant = hash128_bytes(unit->tenant, strlen(unit->tenant));
	bool ignored;
	what.high ^= tenant.low;
	int r = id_map_intern(usage->ids, what, &added.id, &ignored);
	buf_put(&usage->series, &added, sizeof(added));
	return usage->series.failed ? -ENOMEM : r;
}

/* How long the longest of a unit's series is kept, and the ids of all. */
static int usage_read_series(struct usage *usage, const struct store_inventory_unit *unit,
        struct retention_tiers *ret_keep)
{
	struct hash128 tenant = hash128_bytes(unit->tenant, strlen(unit->tenant));
	buf_reset(&usage->unit_series);
	*ret_keep = (struct retention_tiers){ 0 };
	for (uint32_t i = 0; i < unit->series_count; i++) {
		uint64_t id = (uint64_t)unit->series[i] << 32 | unit->dict_generation;
		struct hash128 key = { id * UINT64_C(0x9e3779b97f4a7c15), tenant.low };
		uint32_t at;
		bool is_new;
		int r = id_map_intern(usage->known, key, &at, &is_new);
		if (r == 0 && is_new)
			r = usage_add_series(usage, unit, i);
		if (r < 0)
			return r;
		const struct usage_series *series =
		        (const struct usage_series *)(const void *)usage->series.bytes + at;
		buf_put_u32(&usage->unit_series, series->id);
		for (int tier = 0; tier < RETENTION_TIERS; tier++)
			if (series->keep.keep_ns[tier] > ret_keep->keep_ns[tier])
				ret_keep->keep_ns[tier] = series->keep.keep_ns[tier];
	}
	/* Nobody can say of what is open or unreadable; it stays as long as anything. */
	for (int tier = 0; unit->series_count == 0 && tier < RETENTION_TIERS; tier++)
		ret_keep->keep_ns[tier] = RETENTION_FOREVER;
	return usage->unit_series.failed ? -ENOMEM : 0;
}

static int usage_count_series(struct usage *usage, struct usage_row *row, uint32_t id)
{
	uint64_t key = (uint64_t)(row - usage->rows) << 32 | id;
	uint32_t ignored;
	bool is_new;
	int r = id_map_intern(usage->in_rows,
	        (struct hash128){ key * UINT64_C(0x9e3779b97f4a7c15), 1 }, &ignored, &is_new);
	row->series += r == 0 && is_new;
	return r;
}

/* ---- one unit ---- */

static int usage_put_part(struct usage *usage, const struct usage_part *part)
{
	const struct store_inventory_unit *unit = part->unit;
	struct usage_row *row;
	struct usage_growth growth = { .bytes = part->bytes,
		.from_ns = unit->window.from_ns,
		.to_ns = unit->window.to_ns,
		.keep_ns = part->keep_ns,
		.is_hidden = part->is_hidden };
	int r = usage_row_get(usage, part, &row);
	if (r < 0)
		return r;
	if (!row) {
		usage->left_out += part->bytes;
		return 0;
	}
	row->bytes += part->bytes;
	row->rows += part->rows;
	row->units++;
	row->per_day += usage_growth_per_day(&growth, usage->now_ns, usage->span_ns);
	if (unit->window.from_ns < row->oldest_ns)
		row->oldest_ns = unit->window.from_ns;
	if (unit->window.to_ns > row->newest_ns)
		row->newest_ns = unit->window.to_ns;
	const uint32_t *ids = (const uint32_t *)(const void *)usage->unit_series.bytes;
	uint32_t count = (uint32_t)(usage->unit_series.count / sizeof(*ids));
	if (part->series != UINT32_MAX)
		return usage_count_series(usage, row, ids[part->series]);
	for (uint32_t i = 0; i < count && r == 0; i++)
		r = usage_count_series(usage, row, ids[i]);
	return r;
}

/* A part of a unit, into the rows it belongs to. */
static int usage_count(struct usage *usage, const struct usage_part *whole)
{
	const struct store_inventory_unit *unit = whole->unit;
	struct usage_growth growth = { .bytes = whole->bytes,
		.from_ns = unit->window.from_ns,
		.to_ns = unit->window.to_ns,
		.keep_ns = whole->keep_ns,
		.is_hidden = whole->is_hidden };
	uint32_t count = unit->series_count;
	int r = 0;
	usage->bytes += whole->bytes;
	usage->open_bytes += unit->is_open ? whole->bytes : 0;
	usage->detail_rows += whole->rows;
	usage_forecast_add(&usage->forecast, &growth);
	if (!usage->has_label || count == 0)
		return usage_put_part(usage, whole);
	for (uint32_t i = 0; i < count && r == 0; i++) {
		struct usage_part part = *whole;
		part.series = i;
		/* What is left of dividing is the first one's. */
		part.bytes = whole->bytes / count + (i == 0 ? whole->bytes % count : 0);
		part.rows = whole->rows / count + (i == 0 ? whole->rows % count : 0);
		r = usage_put_part(usage, &part);
	}
	return r;
}

static int usage_visit(void *owner, const struct store_inventory_unit *unit)
{
	struct usage *usage = owner;
	struct retention_tiers keep;
	if (unit->is_corrupt && unit->unit == STORE_UNIT_NONE)
		return 0;
	int r = usage_read_series(usage, unit, &keep);
	struct usage_part part = { .unit = unit, .series = UINT32_MAX };
	if (r == 0 && (unit->is_open || (unit->parts & STORE_PART_DETAIL))) {
		part.tier = RETENTION_DETAIL;
		part.is_hidden = unit->hidden & STORE_PART_DETAIL;
		part.bytes = unit->bytes_detail;
		part.rows = unit->rows;
		part.keep_ns = keep.keep_ns[part.tier];
		r = usage_count(usage, &part);
	}
	if (r == 0 && !unit->is_open) {
		part.tier = RETENTION_10M + unit->window.level;
		part.is_hidden = unit->hidden & STORE_PART_SUMS;
		part.bytes = unit->bytes_sums + unit->bytes_window;
		part.rows = 0;
		part.keep_ns = keep.keep_ns[part.tier];
		r = usage_count(usage, &part);
	}
	return r;
}

/* ---- the answer ---- */

static int usage_compare(const void *a, const void *b)
{
	const struct usage_row *left = a, *right = b;
	return left->bytes < right->bytes ? 1 : left->bytes > right->bytes ? -1 : 0;
}

static void usage_put_rows(struct usage *usage, uint64_t top, struct json_writer *json)
{
	if (usage->rows_count > 1)
		qsort(usage->rows, usage->rows_count, sizeof(*usage->rows), usage_compare);
	json_key(json, "by");
	json_array_begin(json);
	for (uint32_t j = 0; j < usage->by_count; j++)
		json_text(json, usage->by[j].name);
	json_array_end(json);
	json_key(json, "rows");
	json_array_begin(json);
	uint64_t shown = top > 0 && top < USAGE_SHOWN_MAX ? top : USAGE_SHOWN_MAX;
	for (uint32_t i = 0; i < usage->rows_count && i < shown; i++) {
		const struct usage_row *row = &usage->rows[i];
		json_object_begin(json);
		for (uint32_t j = 0; j < usage->by_count; j++)
			json_key_text(json, usage->by[j].name, row->values[j]);
		json_key_u64(json, "bytes", row->bytes);
		json_key_u64(json, "rows", row->rows);
		json_key_u64(json, "units", row->units);
		json_key_u64(json, "series", row->series);
		json_key_u64(json, "oldest_ns", row->oldest_ns);
		json_key_u64(json, "newest_ns", row->newest_ns);
		json_key_u64(json, "bytes_per_day", (uint64_t)row->per_day);
		json_object_end(json);
	}
	json_array_end(json);
	json_key_u64(json, "rows_count", usage->rows_count);
	json_key_u64(json, "bytes_left_out", usage->left_out);
}

/*
 * What RocksDB says of names and the rest counts memory that is not on the disk yet, in large
 * pieces: together they have no more than what the files leave for them.
 */
static void usage_settle_totals(const struct usage *usage, struct store_inventory_bytes *totals)
{
	uint64_t *const estimates[] = { &totals->dict, &totals->symbols, &totals->rest };
	uint64_t exact = totals->detail + totals->windows, sum = 0;
	totals->open = usage->open_bytes;
	for (int level = 0; level < STORE_EXPIRE_LEVELS; level++)
		exact += totals->sums[level];
	exact += totals->open;
	uint64_t left = totals->disk > exact ? totals->disk - exact : 0;
	for (size_t i = 0; i < COUNT_OF(estimates); i++)
		sum += *estimates[i];
	for (size_t i = 0; i < COUNT_OF(estimates) && sum > left; i++)
		*estimates[i] = (uint64_t)((double)*estimates[i] * (double)left / (double)sum);
}

static int usage_put_totals(struct admin_call *call, const struct store_inventory_bytes *totals)
{
	struct json_writer *json = call->json;
	struct store_size size;
	int r = store_size(call->store, &size);
	if (r < 0)
		return r;
	json_key(json, "store");
	json_object_begin(json);
	json_key_u64(json, "detail", totals->detail);
	json_key_u64(json, "sums_10m", totals->sums[0]);
	json_key_u64(json, "sums_1h", totals->sums[1]);
	json_key_u64(json, "sums_1d", totals->sums[2]);
	json_key_u64(json, "windows", totals->windows);
	json_key_u64(json, "hidden", totals->hidden);
	json_key_u64(json, "open", totals->open);
	json_key_u64(json, "dictionary", totals->dict);
	json_key_u64(json, "symbols", totals->symbols);
	json_key_u64(json, "rest", totals->rest);
	json_key_u64(json, "disk", totals->disk);
	json_key_u64(json, "series", size.dict.series);
	json_key_u64(json, "stacks", size.nodes);
	json_key_u64(json, "generations", size.generations);
	json_object_end(json);
	return 0;
}

static void usage_put_forecast(const struct admin_call *call, const struct usage *usage,
        const struct store_inventory_bytes *totals)
{
	struct json_writer *json = call->json;
	uint64_t horizon_ns = json_body_u64(call->body, "forecast_ns", 0);
	struct statvfs disk;
	uint64_t room = 0;
	if (statvfs(call->keeper->options.data, &disk) == 0)
		room = (uint64_t)disk.f_bavail * disk.f_frsize;
	/* Names grow with the data that speaks of them; what else is in the folder does not. */
	double names = usage->bytes > 0
	                       ? 1 + (double)(totals->dict + totals->symbols) / (double)usage->bytes
	                       : 1;
	json_key(json, "forecast");
	json_object_begin(json);
	json_key_u64(json, "bytes_per_day", (uint64_t)(usage->forecast.per_day * names));
	json_key_u64(json, "from_the_last_ns", usage->span_ns);
	json_key_u64(json, "room_bytes", room);
	uint32_t days = usage_forecast_full(&usage->forecast, names, room);
	if (days > 0)
		json_key_u64(json, "days_to_full", days);
	if (horizon_ns > 0) {
		struct usage_change change = usage_forecast_change(
		        &usage->forecast, names, (double)horizon_ns / USAGE_DAY_NS);
		double then = (double)totals->disk + change.comes - change.goes;
		json_key_u64(json, "horizon_ns", horizon_ns);
		json_key_u64(json, "bytes_come", (uint64_t)change.comes);
		json_key_u64(json, "bytes_go", (uint64_t)change.goes);
		json_key_u64(json, "bytes_then", then > 0 ? (uint64_t)then : 0);
	}
	json_object_end(json);
}

/* A store younger than a week grew in less than a week. */
static int usage_find_oldest(void *owner, const struct store_inventory_unit *unit)
{
	uint64_t *oldest_ns = owner;
	if (unit->window.from_ns < *oldest_ns)
		*oldest_ns = unit->window.from_ns;
	return 0;
}

static int usage_measure_span(struct usage *usage)
{
	uint64_t oldest_ns = UINT64_MAX;
	int r = store_inventory(usage->call->store,
	        (struct store_inventory_options){
	                .wants_open = true, .pass = admin_pass(usage->call) },
	        usage_find_oldest, &oldest_ns);
	usage->span_ns = USAGE_GROWTH_NS;
	if (oldest_ns < usage->now_ns && usage->now_ns - oldest_ns < USAGE_GROWTH_NS)
		usage->span_ns = usage->now_ns - oldest_ns;
	if (usage->span_ns < USAGE_GROWTH_MIN_NS)
		usage->span_ns = USAGE_GROWTH_MIN_NS;
	usage_forecast_init(&usage->forecast, usage->now_ns, usage->span_ns);
	return r;
}

static int usage_check_labels(struct admin_call *call, const struct usage *usage)
{
	for (uint32_t j = 0; j < usage->by_count; j++)
		if (usage->by[j].dimension == USAGE_LABEL && !usage->by[j].is_known)
			return admin_refuse(call, WIRE_INVALID,
			        "--by %s: nothing sealed has such a label; write some of tenant, "
			        "service, type, tier, state, and labels (profleet labels)",
			        usage->by[j].name);
	return 0;
}

int admin_usage(struct admin_call *call)
{
	AUTO(usage) usage = usage_new(call);
	struct store_inventory_bytes totals = { 0 };
	if (!usage)
		return -ENOMEM;
	call->passes = 2;
	int r = usage_parse_by(call, usage);
	if (r < 0)
		return r;
	r = usage_measure_span(usage);
	if (r == 0)
		r = store_inventory(call->store,
		        (struct store_inventory_options){ .wants_series = true,
		                .wants_open = true,
		                .pass = admin_pass(call) },
		        usage_visit, usage);
	if (r == 0)
		r = store_inventory_totals(call->store, &totals);
	if (r < 0)
		return admin_failed(call, "reading the inventory", r);
	r = usage_check_labels(call, usage);
	if (r < 0)
		return r;
	usage_settle_totals(usage, &totals);
	usage_put_rows(usage, json_body_u64(call->body, "top", 0), call->json);
	json_key_u64(call->json, "bytes", usage->bytes);
	json_key_u64(call->json, "detail_rows", usage->detail_rows);
	r = usage_put_totals(call, &totals);
	usage_put_forecast(call, usage, &totals);
	return r < 0 ? admin_failed(call, "measuring the store", r) : 0;
}
