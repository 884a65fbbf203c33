/*
 * usage: what takes the space, by what is asked for, how fast it grows, and when the file system is
 * full. Growth is what came for the last days there is data of, as it lies now: what retention
 * will take away again is not in it.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "aggregator/admin_private.h"

#define USAGE_DIMENSIONS_MAX 5
#define USAGE_ROWS_MAX       20000
#define USAGE_DAY_NS         (UINT64_C(86400) * NS_PER_S)
#define USAGE_GROWTH_NS      (7 * USAGE_DAY_NS)
#define USAGE_GROWTH_MIN_NS  (3600 * NS_PER_S)

enum usage_dimension { USAGE_TENANT, USAGE_SERVICE, USAGE_TYPE, USAGE_TIER, USAGE_STATE };

static const char *const usage_names[] = { "tenant", "service", "type", "tier", "state" };

struct usage_row {
	char *values[USAGE_DIMENSIONS_MAX];
	uint64_t bytes, rows, units;
	uint64_t oldest_ns, newest_ns;
	uint64_t recent; /* bytes of what came lately */
};

struct usage {
	enum usage_dimension by[USAGE_DIMENSIONS_MAX];
	uint32_t by_count;
	struct usage_row *rows;
	uint32_t rows_count, rows_capacity;
	uint64_t left_out; /* bytes of rows that had no room */
	uint64_t bytes, detail_rows;
	uint64_t recent_from_ns;
	uint64_t recent;
	uint64_t oldest_ns;
};

static void usage_free(struct usage *usage)
{
	for (uint32_t i = 0; usage && i < usage->rows_count; i++)
		for (uint32_t j = 0; j < usage->by_count; j++)
			free(usage->rows[i].values[j]);
	if (usage)
		free(usage->rows);
	free(usage);
}
DEFINE_AUTO(usage);

static int usage_parse_by(struct admin_call *call, struct usage *usage)
{
	const char *text = json_body_text(call->body, "by");
	if (!*text)
		text = "service,tier";
	while (*text) {
		size_t count = strcspn(text, ",");
		uint32_t at = 0;
		while (at < COUNT_OF(usage_names) &&
		        (strlen(usage_names[at]) != count ||
		                memcmp(usage_names[at], text, count) != 0))
			at++;
		if (at == COUNT_OF(usage_names) || usage->by_count == USAGE_DIMENSIONS_MAX)
			return admin_refuse(call, WIRE_INVALID,
			        "--by %.*s: write some of tenant, service, type, tier, state",
			        (int)count, text);
		usage->by[usage->by_count++] = (enum usage_dimension)at;
		text += count + (text[count] == ',');
	}
	return 0;
}

static const char *usage_value(enum usage_dimension dimension,
        const struct store_inventory_unit *unit, const char *tier, const char *state)
{
	switch (dimension) {
	case USAGE_TENANT:
		return unit->tenant;
	case USAGE_SERVICE:
		return unit->service;
	case USAGE_TYPE:
		return unit->type;
	case USAGE_TIER:
		return tier;
	case USAGE_STATE:
		return state;
	}
	return "";
}

/* NULL: no room (left_out), or no memory. */
static struct usage_row *usage_row_get(struct usage *usage, const struct store_inventory_unit *unit,
        const char *tier, const char *state)
{
	for (uint32_t i = usage->rows_count; i-- > 0;) {
		bool is_same = true;
		for (uint32_t j = 0; j < usage->by_count && is_same; j++)
			is_same = strcmp(usage->rows[i].values[j],
			                  usage_value(usage->by[j], unit, tier, state)) == 0;
		if (is_same)
			return &usage->rows[i];
	}
	if (usage->rows_count == USAGE_ROWS_MAX)
		return NULL;
	if (usage->rows_count == usage->rows_capacity) {
		uint32_t capacity = usage->rows_capacity ? usage->rows_capacity * 2 : 64;
		struct usage_row *rows = reallocarray(usage->rows, capacity, sizeof(*rows));
		if (!rows)
			return NULL;
		usage->rows = rows;
		usage->rows_capacity = capacity;
	}
	struct usage_row row = { .oldest_ns = UINT64_MAX };
	bool has_all = true;
	for (uint32_t j = 0; j < usage->by_count; j++) {
		row.values[j] = strdup(usage_value(usage->by[j], unit, tier, state));
		has_all &= row.values[j] != NULL;
	}
	for (uint32_t j = 0; j < usage->by_count && !has_all; j++)
		free(row.values[j]);
	if (!has_all)
		return NULL;
	usage->rows[usage->rows_count] = row;
	return &usage->rows[usage->rows_count++];
}

static void usage_count(struct usage *usage, const struct store_inventory_unit *unit,
        const char *tier, bool is_hidden, uint64_t bytes, uint64_t rows)
{
	const char *state = unit->is_open ? "open" : is_hidden ? "hidden" : "kept";
	struct usage_row *row = usage_row_get(usage, unit, tier, state);
	bool is_recent = unit->window.to_ns > usage->recent_from_ns;
	usage->bytes += bytes;
	usage->detail_rows += rows;
	usage->recent += is_recent ? bytes : 0;
	if (unit->window.from_ns < usage->oldest_ns)
		usage->oldest_ns = unit->window.from_ns;
	if (!row) {
		usage->left_out += bytes;
		return;
	}
	row->bytes += bytes;
	row->rows += rows;
	row->units++;
	row->recent += is_recent ? bytes : 0;
	if (unit->window.from_ns < row->oldest_ns)
		row->oldest_ns = unit->window.from_ns;
	if (unit->window.to_ns > row->newest_ns)
		row->newest_ns = unit->window.to_ns;
}

static int usage_visit(void *owner, const struct store_inventory_unit *unit)
{
	static const char *const tiers[] = { "10m", "1h", "1d" };
	struct usage *usage = owner;
	if (unit->is_corrupt && unit->unit == STORE_UNIT_NONE)
		return 0;
	if (unit->is_open || (unit->parts & STORE_PART_DETAIL))
		usage_count(usage, unit, "detail", unit->hidden & STORE_PART_DETAIL,
		        unit->bytes_detail, unit->rows);
	if (!unit->is_open && unit->window.level < COUNT_OF(tiers))
		usage_count(usage, unit, tiers[unit->window.level], unit->hidden & STORE_PART_SUMS,
		        unit->bytes_sums + unit->bytes_window, 0);
	return 0;
}

static int usage_compare(const void *a, const void *b)
{
	const struct usage_row *left = a, *right = b;
	return left->bytes < right->bytes ? 1 : left->bytes > right->bytes ? -1 : 0;
}

static void usage_put_rows(
        struct usage *usage, uint64_t top, uint64_t span_ns, struct json_writer *json)
{
	if (usage->rows_count > 1)
		qsort(usage->rows, usage->rows_count, sizeof(*usage->rows), usage_compare);
	json_key(json, "rows");
	json_array_begin(json);
	for (uint32_t i = 0; i < usage->rows_count && (top == 0 || i < top); i++) {
		const struct usage_row *row = &usage->rows[i];
		json_object_begin(json);
		for (uint32_t j = 0; j < usage->by_count; j++)
			json_key_text(json, usage_names[usage->by[j]], row->values[j]);
		json_key_u64(json, "bytes", row->bytes);
		json_key_u64(json, "rows", row->rows);
		json_key_u64(json, "units", row->units);
		json_key_u64(json, "oldest_ns", row->oldest_ns);
		json_key_u64(json, "newest_ns", row->newest_ns);
		json_key_u64(json, "bytes_per_day",
		        (uint64_t)((double)row->recent * USAGE_DAY_NS / (double)span_ns));
		json_object_end(json);
	}
	json_array_end(json);
	json_key_u64(json, "rows_count", usage->rows_count);
	json_key_u64(json, "bytes_left_out", usage->left_out);
}

static void usage_put_totals(const struct store_inventory_bytes *totals, struct json_writer *json)
{
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
	json_object_end(json);
}

/* Of the names, too: they grow with the data. */
static void usage_put_forecast(const struct admin_call *call, const struct usage *usage,
        const struct store_inventory_bytes *totals, uint64_t span_ns, struct json_writer *json)
{
	uint64_t horizon_ns = json_body_u64(call->body, "forecast_ns", 0);
	double per_day = (double)usage->recent * USAGE_DAY_NS / (double)span_ns;
	struct statvfs disk;
	uint64_t room = 0;
	if (statvfs(call->keeper->options.data, &disk) == 0)
		room = (uint64_t)disk.f_bavail * disk.f_frsize;
	/* What else lies in the folder (names, the log) grows along. */
	if (usage->bytes > 0 && totals->disk > usage->bytes)
		per_day *= (double)totals->disk / (double)usage->bytes;
	json_key(json, "forecast");
	json_object_begin(json);
	json_key_u64(json, "bytes_per_day", (uint64_t)per_day);
	json_key_u64(json, "from_the_last_ns", span_ns);
	json_key_u64(json, "room_bytes", room);
	if (per_day >= 1)
		json_key_u64(json, "days_to_full", (uint64_t)((double)room / per_day));
	if (horizon_ns > 0) {
		json_key_u64(json, "horizon_ns", horizon_ns);
		json_key_u64(json, "bytes_then",
		        totals->disk + (uint64_t)(per_day * (double)horizon_ns / USAGE_DAY_NS));
	}
	json_object_end(json);
}

int admin_usage(struct admin_call *call)
{
	AUTO(usage) usage = calloc(1, sizeof(*usage));
	struct store_inventory_bytes totals = { 0 };
	uint64_t now_ns = keeper_now(call->keeper);
	if (!usage)
		return -ENOMEM;
	int r = usage_parse_by(call, usage);
	if (r < 0)
		return r;
	usage->oldest_ns = UINT64_MAX;
	usage->recent_from_ns = now_ns > USAGE_GROWTH_NS ? now_ns - USAGE_GROWTH_NS : 0;
	r = store_inventory(call->store, (struct store_inventory_options){ .wants_open = true },
	        usage_visit, usage);
	if (r == 0)
		r = store_inventory_totals(call->store, &totals);
	if (r < 0)
		return admin_failed(call, "reading the inventory", r);
	/* A store younger than a week grew in less than a week. */
	uint64_t span_ns = usage->oldest_ns < now_ns && now_ns - usage->oldest_ns < USAGE_GROWTH_NS
	                           ? now_ns - usage->oldest_ns
	                           : USAGE_GROWTH_NS;
	if (span_ns < USAGE_GROWTH_MIN_NS)
		span_ns = USAGE_GROWTH_MIN_NS;
	usage_put_rows(usage, json_body_u64(call->body, "top", 0), span_ns, call->json);
	json_key_u64(call->json, "bytes", usage->bytes);
	json_key_u64(call->json, "detail_rows", usage->detail_rows);
	usage_put_totals(&totals, call->json);
	usage_put_forecast(call, usage, &totals, span_ns, call->json);
	return 0;
}
