/*
 * Sealed windows and rollups. Their families are gone over side by side, in the order of their
 *keys: for each window its record, then its blocks. So a block that no record names is seen without
 *a list of all of them.
 *
 * A unit says the same thing three times, in detail, in sums and in members. Here they are added up
 * anew, each from its rows, and compared:
 *
 *	detail    rows by place and by group, coverage and losses by (series, stream)
 *	members   coverage and losses by (series, stream): equal to detail's, and by group
 *	sums      rows by place: equal to detail's; groups: equal to what members and rows give
 *
 * Where detail was forgotten, and in rollups, sums and members are compared with each other. What a
 * run that began to erase speaks of is passed over.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "storage/store_verify_private.h"

#define VERIFY_BLOCK_FAMILIES 4 /* sums of three levels, and detail */

#define ARRAY(type, buf)       ((type *)(void *)(buf).bytes)
#define ARRAY_COUNT(type, buf) ((buf).count / sizeof(type))

/* What a unit says of one series as one stream saw it. */
struct verify_fact {
	uint32_t series;
	uint32_t stream;
	bool is_loss;
	uint32_t reason;
	uint64_t said;  /* by members */
	uint64_t found; /* in detail */
	bool is_met;
};

/* A group of a unit's sums, added up from its parts. */
struct verify_group {
	uint64_t samples;
	uint64_t coverage_ns;
	uint64_t lost;
};

/* That a window was added up from another. */
struct verify_source {
	struct key_window key;
	uint32_t level; /* of the rollup */
};

/* One window as it is read. */
struct verify_window {
	struct verify *verify;
	struct key_window key;
	struct window record;
	struct verify_place place; /* of the window: units add to it */
	struct buf intervals;      /* struct detail_interval, by (stream, start, seq) */
	bool has_watchers;         /* all of them could be read */
	struct buf sources;        /* struct verify_source, of all windows */
	struct buf owned;          /* u64: tenant and series, of all units */
	struct buf values_apart;   /* u8 by unit: the values of its groups are a block, or may be */

	/* Of the unit that is being read. */
	uint32_t number;
	struct verify_place unit;
	struct detail_memory *members_memory;
	struct buf members_bytes;
	struct buf sums_bytes;
	struct buf values_bytes;
	struct sum_block sums;
	const struct sum_group *groups;
	struct buf facts;     /* struct verify_fact, sorted */
	struct buf sums_of;   /* struct verify_group, by group */
	struct buf instances; /* u64: group and instance */
	struct buf places;    /* u64: rows of detail by place */
	bool has_detail;      /* all of it could be read */
	uint64_t rows;
};

static int verify_compare_facts(const void *a, const void *b)
{
	const struct verify_fact *x = a;
	const struct verify_fact *y = b;
	if (x->series != y->series)
		return x->series < y->series ? -1 : 1;
	if (x->stream != y->stream)
		return x->stream < y->stream ? -1 : 1;
	if (x->is_loss != y->is_loss)
		return x->is_loss ? 1 : -1;
	return x->reason < y->reason ? -1 : x->reason > y->reason;
}

static int verify_compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static int verify_compare_intervals(const void *a, const void *b)
{
	const struct detail_interval *x = a;
	const struct detail_interval *y = b;
	if (x->stream != y->stream)
		return x->stream < y->stream ? -1 : 1;
	if (x->start_ns != y->start_ns)
		return x->start_ns < y->start_ns ? -1 : 1;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static void verify_sort(struct buf *buf, size_t each, int (*compare)(const void *a, const void *b))
{
	if (buf->count > each)
		qsort(buf->bytes, buf->count / each, each, compare);
}

/* Sums of this check itself: what passes 64 bits cannot be equal to anything. */
static uint64_t verify_add(uint64_t a, uint64_t b)
{
	uint64_t sum;
	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

/* Where the blocks of the window are that are not detail. */
static enum kv_family verify_sums_family(const struct verify_window *window)
{
	static const enum kv_family families[WINDOW_LEVELS] = { KV_SUMS, KV_SUMS_HOUR,
		KV_SUMS_DAY };
	uint32_t level = key_window_level(window->key);
	return families[level < WINDOW_LEVELS ? level : 0];
}

static const char *verify_sums_name(const struct verify_window *window)
{
	static const char *const names[WINDOW_LEVELS] = { "sums", "sums_hour", "sums_day" };
	uint32_t level = key_window_level(window->key);
	return names[level < WINDOW_LEVELS ? level : 0];
}

static bool verify_is_rollup(const struct verify_window *window)
{
	return key_window_level(window->key) > 0;
}

static int verify_get_block(struct verify_window *window, enum kv_family family, uint32_t unit,
        enum keys_block_part part, uint32_t chunk, uint8_t key_bytes[KEYS_BLOCK_BYTES],
        struct buf *to)
{
	struct key_block key = {
		.window = window->key,
		.unit = unit,
		.part = part,
		.chunk = chunk,
	};
	keys_put_block(key, key_bytes);
	buf_reset(to);
	return kv_get(
	        window->verify->kv, family, (struct kv_bytes){ key_bytes, KEYS_BLOCK_BYTES }, to);
}

static int verify_get_chunk(struct verify_window *window, enum kv_family family, uint32_t unit,
        enum keys_block_part part, uint32_t number, struct buf *bytes, struct detail_memory *memory,
        struct detail_chunk *ret_chunk, struct detail_heads *ret_heads)
{
	uint8_t key_bytes[KEYS_BLOCK_BYTES];
	struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
	int r = verify_get_block(window, family, unit, part, number, key_bytes, bytes);
	struct kv_bytes value = { bytes->bytes, bytes->count };
	r = r < 0 ? r : detail_chunk_open(key, value, ret_chunk);
	return r < 0 ? r : detail_chunk_get_heads(ret_chunk, memory, ret_heads);
}

/* ---- watchers ---- */

static int verify_watchers_chunk(struct verify_window *window, uint32_t number)
{
	struct detail_chunk chunk;
	struct detail_heads heads;
	struct verify_place place = window->place;
	verify_put(&place, ": watchers chunk %" PRIu32, number);
	int r = verify_get_chunk(window, verify_sums_family(window), KEYS_UNIT_NONE,
	        KEYS_BLOCK_WATCHERS, number, &window->verify->value, window->verify->memory, &chunk,
	        &heads);
	if (verify_is_damage(r)) {
		window->has_watchers = false;
		place.family = verify_sums_name(window);
		return verify_damage(window->verify, &place,
		        "who was watching: intervals, gaps, losses that are nobody's", "%s",
		        verify_reason(r));
	}
	if (r == 0 && chunk.intervals_count)
		buf_put(&window->intervals, heads.intervals,
		        chunk.intervals_count * sizeof(*heads.intervals));
	return r < 0 ? r : window->intervals.failed ? -ENOMEM : 0;
}

/* Is it open as well? */
static int verify_sealed_batch(struct verify_window *window, const struct detail_interval *interval)
{
	struct verify *verify = window->verify;
	uint8_t key_bytes[KEYS_BATCH_BYTES];
	struct key_batch key = { interval->start_ns, interval->stream, interval->seq };
	keys_put_batch(key, key_bytes);
	buf_reset(&verify->value);
	int r = kv_get(verify->kv, KV_BATCH, (struct kv_bytes){ key_bytes, sizeof(key_bytes) },
	        &verify->value);
	if (r == 0)
		r = verify_damage(verify, &window->place, "nothing: a batch is counted twice",
		        "seq %" PRIu64 " of stream %" PRIu32 " is open and sealed", key.seq,
		        key.stream);
	else if (r == -ENOENT || r == -EIO || r == -EBADMSG)
		r = 0; /* what cannot be read was told of with the batches */
	return r < 0 ? r : verify_kept(verify, &window->place, key);
}

static int verify_watchers(struct verify_window *window)
{
	const struct window *record = &window->record;
	uint64_t first_ns = UINT64_MAX;
	uint64_t last_ns = 0;
	int r = 0;
	window->has_watchers = true;
	for (uint32_t i = 0; i < record->watchers_chunks && r == 0; i++)
		r = verify_watchers_chunk(window, i);
	verify_sort(&window->intervals, sizeof(struct detail_interval), verify_compare_intervals);
	const struct detail_interval *intervals = ARRAY(struct detail_interval, window->intervals);
	size_t count = ARRAY_COUNT(struct detail_interval, window->intervals);
	/* A rollup's are runs of intervals, whose batches were looked at with its sources. */
	if (verify_is_rollup(window))
		return r;
	for (size_t i = 0; i < count && r == 0; i++) {
		first_ns = intervals[i].start_ns < first_ns ? intervals[i].start_ns : first_ns;
		last_ns = intervals[i].start_ns > last_ns ? intervals[i].start_ns : last_ns;
		r = verify_sealed_batch(window, &intervals[i]);
	}
	if (r < 0 || !window->has_watchers)
		return r;
	if (count != record->batches)
		return verify_damage(window->verify, &window->place,
		        "the count of batches is wrong",
		        "its record says %" PRIu64 " batches, its watchers %zu", record->batches,
		        count);
	if (first_ns != record->first_ns || last_ns != record->last_ns)
		return verify_damage(window->verify, &window->place, "",
		        "its record says another time of the first or last batch than its "
		        "watchers");
	return 0;
}

/* ---- one unit ---- */

static int verify_unit_damage(struct verify_window *window, const char *family, const char *part,
        const char *missing, const char *reason)
{
	struct verify_place place = window->unit;
	place.family = family;
	verify_put(&place, ": %s", part);
	return verify_damage(window->verify, &place, missing, "%s", reason);
}

static void verify_put_string(struct verify_window *window, uint32_t string)
{
	size_t count;
	if (string >= dict_mark(window->verify->dict).strings) {
		verify_put(&window->unit, "string %" PRIu32, string);
		return;
	}
	const char *text = dict_get_string(window->verify->dict, string, &count);
	verify_put_text(&window->unit, text, count);
}

/* Names the unit, and checks what its record refers to. */
static int verify_unit_names(struct verify_window *window)
{
	const struct window_unit *unit = &window->record.units[window->number];
	const char *tenant = window->record.tenants[unit->tenant];
	uint32_t strings = dict_mark(window->verify->dict).strings;
	window->unit = window->place;
	verify_put(&window->unit, ": service ");
	verify_put_string(window, unit->service);
	verify_put(&window->unit, ", type ");
	verify_put_string(window, unit->type);
	if (tenant[0]) {
		verify_put(&window->unit, ", tenant ");
		verify_put_text(&window->unit, tenant, strlen(tenant));
	}
	if (!window->verify->is_dict_whole || (unit->service < strings && unit->type < strings))
		return 0;
	return verify_unit_damage(window, "window", "unit", "this service and type",
	        "its service or type is a string that does not exist");
}

static void verify_put_fact(struct verify_window *window, uint32_t series, uint32_t stream,
        bool is_loss, uint32_t reason, uint64_t said)
{
	struct verify_fact fact = { 0 };
	fact.series = series;
	fact.stream = stream;
	fact.is_loss = is_loss;
	fact.reason = reason;
	fact.said = said;
	buf_put(&window->facts, &fact, sizeof(fact));
}

/* Which group of the sums a series is of, or SUMS_GROUPS_MAX. */
static uint32_t verify_find_group(const struct verify_window *window, uint32_t series)
{
	const struct verify *verify = window->verify;
	struct sum_group_key key = sum_labels_group(&verify->labels, verify->dict, series);
	uint32_t first = 0;
	uint32_t end = window->groups ? window->sums.groups_count : 0;
	while (first < end) {
		uint32_t middle = first + (end - first) / 2;
		int order = sum_group_key_compare(&window->groups[middle].key, &key);
		if (order == 0)
			return middle;
		if (order < 0)
			first = middle + 1;
		else
			end = middle;
	}
	return SUMS_GROUPS_MAX;
}

/* A series that members name: it exists, is of this unit, and of a group that there is. */
static const char *verify_member_series(
        struct verify_window *window, uint32_t series, uint32_t stream, uint64_t coverage_ns)
{
	const struct verify *verify = window->verify;
	const struct window_unit *unit = &window->record.units[window->number];
	if (series >= dict_mark(verify->dict).series)
		return "a series does not exist";
	if (stream < verify->streams_count && verify->streams[stream].is_known &&
	        strcmp(verify->streams[stream].who.tenant, window->record.tenants[unit->tenant]) !=
	                0)
		return "a stream is of another tenant";
	if (dict_get_series(verify->dict, series)->type != unit->type ||
	        sum_labels_service(&verify->labels, verify->dict, series) != unit->service)
		return "a series is of another service or type";
	uint32_t group = verify_find_group(window, series);
	if (!window->groups)
		return NULL;
	if (group == SUMS_GROUPS_MAX)
		return verify_is_rollup(window) ? NULL : "a series is of no group of the sums";
	struct verify_group *sums_of = ARRAY(struct verify_group, window->sums_of);
	sums_of[group].coverage_ns = verify_add(sums_of[group].coverage_ns, coverage_ns);
	uint32_t instance = sum_labels_instance(&verify->labels, verify->dict, series);
	uint64_t pair = (uint64_t)group << 32 | instance;
	if (instance)
		buf_put(&window->instances, &pair, sizeof(pair));
	uint64_t owned = (uint64_t)unit->tenant << 32 | series;
	buf_put(&window->owned, &owned, sizeof(owned));
	return NULL;
}

static int verify_take_members(struct verify_window *window, const struct detail_chunk *chunk,
        const struct detail_heads *heads)
{
	const char *reason = NULL;
	for (uint32_t i = 0; i < chunk->reports_count && !reason; i++) {
		const struct detail_report *report = &heads->reports[i];
		uint32_t stream = heads->intervals[report->interval].stream;
		verify_put_fact(window, report->series, stream, false, 0, report->coverage_ns);
		reason = verify_member_series(window, report->series, stream, report->coverage_ns);
	}
	for (uint32_t i = 0; i < chunk->losses_count && !reason; i++) {
		const struct detail_loss *loss = &heads->losses[i];
		uint32_t stream = heads->intervals[loss->interval].stream;
		verify_put_fact(window, loss->series, stream, true, loss->reason, loss->count);
		reason = verify_member_series(window, loss->series, stream, 0);
		uint32_t group = reason ? SUMS_GROUPS_MAX : verify_find_group(window, loss->series);
		if (group != SUMS_GROUPS_MAX) {
			struct verify_group *of = &ARRAY(
			        struct verify_group, window->sums_of)[group];
			of->lost = verify_add(of->lost, loss->count);
		}
	}
	if (window->facts.failed || window->instances.failed || window->owned.failed)
		return -ENOMEM;
	return reason ? verify_unit_damage(window, verify_sums_name(window), "members",
	                        "nothing of rows: coverage and losses are wrong", reason)
	              : 0;
}

static int verify_members_chunk(struct verify_window *window, uint32_t number)
{
	struct detail_chunk chunk;
	struct detail_heads heads;
	int r = verify_get_chunk(window, verify_sums_family(window), window->number,
	        KEYS_BLOCK_MEMBERS, number, &window->members_bytes, window->members_memory, &chunk,
	        &heads);
	if (verify_is_damage(r))
		return verify_unit_damage(window, verify_sums_name(window), "members",
		        verify_is_rollup(window)
		                ? "coverage and losses of this service and type in this window"
		                : "nothing: detail says the same, and takes longer",
		        verify_reason(r));
	return r < 0 || !window->verify->is_dict_whole
	               ? r
	               : verify_take_members(window, &chunk, &heads);
}

/* false: they cannot be read, or compared with the dictionary. */
static int verify_members(struct verify_window *window, bool *ret_is_there)
{
	uint64_t damaged = window->verify->summary.damaged;
	uint32_t chunks = verify_is_rollup(window) ? window->record.units[window->number].chunks
	                                           : 1;
	int r = 0;
	for (uint32_t i = 0; i < chunks && r == 0; i++)
		r = verify_members_chunk(window, i);
	verify_sort(&window->facts, sizeof(struct verify_fact), verify_compare_facts);
	*ret_is_there = window->verify->is_dict_whole && window->verify->summary.damaged == damaged;
	return r;
}

static int verify_dictionary(struct verify_window *window)
{
	struct verify *verify = window->verify;
	uint32_t count = window->sums.dictionary_count;
	buf_reset(&verify->scratch);
	uint32_t *nodes = (void *)buf_reserve(
	        &verify->scratch, ((size_t)count + 1) * sizeof(*nodes));
	if (!nodes)
		return -ENOMEM;
	int r = sum_block_get_dictionary(&window->sums, verify->sums_memory, nodes);
	if (r == 0 && count > 0 && verify->is_dict_whole &&
	        nodes[count - 1] >= dict_mark(verify->dict).nodes)
		r = -EBADMSG;
	struct sum_dictionary dictionary = { nodes, count };
	if (r == 0 && sum_dictionary_hash(dictionary) != window->sums.dictionary_hash)
		r = -EBADMSG;
	return r;
}

/* The sums are of the window; a rollup's are of the span of what it was made of. */
static bool verify_has_time(const struct verify_window *window)
{
	const struct sum_block *sums = &window->sums;
	if (verify_is_rollup(window))
		return sums->from_ns >= window->key.from_ns && sums->to_ns <= window->key.to_ns;
	return sums->from_ns == window->key.from_ns && sums->to_ns == window->key.to_ns;
}

static int verify_open_sums(struct verify_window *window)
{
	uint8_t key_bytes[KEYS_BLOCK_BYTES];
	struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
	window->groups = NULL;
	int r = verify_get_block(window, verify_sums_family(window), window->number,
	        KEYS_BLOCK_SUMS, 0, key_bytes, &window->sums_bytes);
	struct kv_bytes value = { window->sums_bytes.bytes, window->sums_bytes.count };
	r = r < 0 ? r : sum_block_open(key, value, &window->sums);
	if (r == 0 && !verify_has_time(window))
		r = -EBADMSG;
	r = r < 0 ? r : verify_dictionary(window);
	r = r < 0 ? r
	          : sum_block_get_groups(
	                    &window->sums, window->verify->sums_memory, &window->groups);
	if (r < 0)
		return r;
	window->values_apart.bytes[window->number] = window->sums.has_values_apart;
	size_t groups = window->sums.groups_count;
	size_t places = window->sums.dictionary_count;
	buf_reset(&window->sums_of);
	buf_reset(&window->places);
	uint8_t *zero = buf_reserve(&window->sums_of, (groups + 1) * sizeof(struct verify_group));
	uint8_t *zeroes = buf_reserve(&window->places, (places + 1) * sizeof(uint64_t));
	if (!zero || !zeroes)
		return -ENOMEM;
	memset(zero, 0, groups * sizeof(struct verify_group));
	memset(zeroes, 0, places * sizeof(uint64_t));
	return 0;
}

/* The values of the groups, where they are a block of their own: before they are compared. */
static int verify_open_values(struct verify_window *window)
{
	struct verify *verify = window->verify;
	uint8_t key_bytes[KEYS_BLOCK_BYTES];
	struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
	if (!window->sums.has_values_apart)
		return 0;
	int r = verify_get_block(window, verify_sums_family(window), window->number,
	        KEYS_BLOCK_VALUES, 0, key_bytes, &window->values_bytes);
	struct kv_bytes value = { window->values_bytes.bytes, window->values_bytes.count };
	r = r < 0 ? r : sum_block_open_values(&window->sums, verify->sums_memory, key, value);
	if (!verify_is_damage(r))
		return r;
	return verify_unit_damage(window, verify_sums_name(window), "values of groups",
	        "what tells versions, regions and instances apart, without detail",
	        verify_reason(r));
}

/* ---- detail ---- */

static bool verify_add_fact(struct verify_window *window, uint32_t series, uint32_t stream,
        bool is_loss, uint32_t reason, uint64_t value)
{
	struct verify_fact wanted = {
		.series = series,
		.stream = stream,
		.is_loss = is_loss,
		.reason = reason,
	};
	struct verify_fact *facts = ARRAY(struct verify_fact, window->facts);
	size_t count = ARRAY_COUNT(struct verify_fact, window->facts);
	struct verify_fact *fact =
	        count ? bsearch(&wanted, facts, count, sizeof(*facts), verify_compare_facts) : NULL;
	if (!fact)
		return false;
	fact->found = verify_add(fact->found, value);
	fact->is_met = true;
	return true;
}

/* Is every interval of the chunk one that the watchers have? */
static bool verify_intervals_are_known(const struct verify_window *window,
        const struct detail_chunk *chunk, const struct detail_heads *heads)
{
	const struct detail_interval *all = ARRAY(struct detail_interval, window->intervals);
	size_t count = ARRAY_COUNT(struct detail_interval, window->intervals);
	for (uint32_t i = 0; i < chunk->intervals_count; i++) {
		const struct detail_interval *interval = &heads->intervals[i];
		const struct detail_interval *found = count ? bsearch(interval, all, count,
		                                                      sizeof(*all),
		                                                      verify_compare_intervals)
		                                            : NULL;
		if (!found || found->duration_ns != interval->duration_ns)
			return false;
	}
	return true;
}

/* Rows by place and by group. */
static void verify_add_rows(struct verify_window *window, const struct detail_report *report,
        const struct detail_rows *rows)
{
	uint64_t *places = ARRAY(uint64_t, window->places);
	uint64_t samples = 0;
	for (uint32_t i = 0; i < report->rows_count; i++) {
		uint32_t row = report->rows_first + i;
		uint64_t value = detail_rows_value(rows, row);
		places[rows->places[row]] = verify_add(places[rows->places[row]], value);
		samples = verify_add(samples, value);
	}
	uint32_t group = SUMS_GROUPS_MAX;
	if (window->verify->is_dict_whole)
		group = verify_find_group(window, report->series);
	if (group != SUMS_GROUPS_MAX) {
		struct verify_group *of = &ARRAY(struct verify_group, window->sums_of)[group];
		of->samples = verify_add(of->samples, samples);
	}
}

/* NULL, or what is wrong. */
static const char *verify_add_chunk(struct verify_window *window, bool has_members,
        const struct detail_chunk *chunk, const struct detail_heads *heads,
        const struct detail_rows *rows)
{
	const struct verify *verify = window->verify;
	bool is_known = true;
	uint32_t series_count = dict_mark(verify->dict).series;
	if (window->has_watchers && !verify_intervals_are_known(window, chunk, heads))
		return "an interval is not among the watchers";
	for (uint32_t i = 0; i < chunk->reports_count; i++) {
		const struct detail_report *report = &heads->reports[i];
		if (verify->is_dict_whole && report->series >= series_count)
			return "a series does not exist";
		verify_add_rows(window, report, rows);
		is_known &= !has_members || verify_add_fact(window, report->series,
		                                    heads->intervals[report->interval].stream,
		                                    false, 0, report->coverage_ns);
	}
	for (uint32_t i = 0; i < chunk->losses_count; i++) {
		const struct detail_loss *loss = &heads->losses[i];
		is_known &= !has_members || verify_add_fact(window, loss->series,
		                                    heads->intervals[loss->interval].stream, true,
		                                    loss->reason, loss->count);
	}
	window->rows += chunk->rows_count;
	return is_known ? NULL : "a series or a loss is not among the members";
}

static int verify_detail_chunk(struct verify_window *window, bool has_members, uint32_t number)
{
	struct verify *verify = window->verify;
	struct detail_chunk chunk;
	struct detail_heads heads;
	struct detail_rows rows;
	char part[32];
	snprintf(part, sizeof(part), "detail chunk %" PRIu32, number);
	int r = verify_get_chunk(window, KV_DETAIL, window->number, KEYS_BLOCK_DETAIL, number,
	        &verify->value, verify->memory, &chunk, &heads);
	if (r == 0 && (chunk.dictionary_count != window->sums.dictionary_count ||
	                      chunk.dictionary_hash != window->sums.dictionary_hash))
		r = -EBADMSG;
	r = r < 0 ? r : detail_chunk_get_rows(&chunk, verify->memory, &rows);
	if (verify_is_damage(r)) {
		window->has_detail = false;
		return verify_unit_damage(window, "detail", part,
		        "these rows, where sums do not answer: other labels, a part of the window",
		        verify_reason(r));
	}
	if (r < 0)
		return r;
	const char *wrong = verify_add_chunk(window, has_members, &chunk, &heads, &rows);
	return wrong ? verify_unit_damage(window, "detail", part,
	                       "nothing is missing: two blocks disagree", wrong)
	             : 0;
}

/* Detail of a unit whose sums cannot be read: its dictionary is gone, its checksums are not. */
static int verify_detail_alone(struct verify_window *window)
{
	struct verify *verify = window->verify;
	int r = 0;
	uint32_t chunks = verify_is_rollup(window) ? 0
	                                           : window->record.units[window->number].chunks;
	for (uint32_t i = 0; i < chunks && r == 0; i++) {
		struct detail_chunk chunk;
		struct detail_heads heads;
		char part[32];
		r = verify_get_chunk(window, KV_DETAIL, window->number, KEYS_BLOCK_DETAIL, i,
		        &verify->value, verify->memory, &chunk, &heads);
		snprintf(part, sizeof(part), "detail chunk %" PRIu32, i);
		if (verify_is_damage(r))
			r = verify_unit_damage(window, "detail", part, "", verify_reason(r));
	}
	return r;
}

/* ---- comparing ---- */

/* NULL, or how members and detail differ. */
static const char *verify_compare_members(const struct verify_window *window)
{
	const struct verify_fact *facts = ARRAY(struct verify_fact, window->facts);
	for (size_t i = 0; i < ARRAY_COUNT(struct verify_fact, window->facts); i++) {
		if (!facts[i].is_met)
			return "they name a series that detail does not have";
		if (facts[i].said != facts[i].found)
			return facts[i].is_loss ? "losses are others than in detail"
			                        : "coverage is another than in detail";
	}
	return NULL;
}

static uint64_t verify_group_lost(const struct sum_group *group)
{
	uint64_t lost = 0;
	for (uint32_t i = 0; i < group->losses_count; i++)
		lost = verify_add(lost, group->losses[i].count);
	return lost;
}

/* Takes each instance of a group once, ascending. */
static const char *verify_compare_instances(struct verify_window *window)
{
	verify_sort(&window->instances, sizeof(uint64_t), verify_compare_u64);
	const uint64_t *pairs = ARRAY(uint64_t, window->instances);
	size_t count = ARRAY_COUNT(uint64_t, window->instances);
	size_t at = 0;
	for (uint32_t g = 0; g < window->sums.groups_count; g++) {
		for (uint32_t i = 0; i < window->groups[g].instances_count; i++) {
			uint64_t pair = (uint64_t)g << 32 | window->groups[g].instances[i];
			if (at == count || pairs[at] != pair)
				return "a group has other instances than members";
			while (at < count && pairs[at] == pair)
				at++;
		}
	}
	return at == count ? NULL : "a group lacks an instance that members have";
}

static const char *verify_compare_groups(struct verify_window *window, bool has_members)
{
	const struct verify_group *sums_of = ARRAY(struct verify_group, window->sums_of);
	for (uint32_t g = 0; g < window->sums.groups_count; g++) {
		const struct sum_group *group = &window->groups[g];
		if (window->has_detail && sums_of[g].samples != group->samples)
			return "a group has other samples than detail";
		if (has_members && sums_of[g].coverage_ns != group->coverage_ns)
			return "a group has another coverage than members";
		if (has_members && sums_of[g].lost != verify_group_lost(group))
			return "a group has other losses than members";
	}
	return has_members ? verify_compare_instances(window) : NULL;
}

/* The groups' rows add up to the totals, place by place, and so does detail. */
static int verify_compare_places(struct verify_window *window, const char **ret_wrong)
{
	struct sum_memory *memory = window->verify->sums_memory;
	uint32_t count = window->sums.dictionary_count;
	const uint32_t *order;
	const uint64_t *values;
	AUTO(stack_sums) totals = stack_sums_new(count);
	AUTO(stack_sums) groups = stack_sums_new(count);
	int r = totals && groups ? 0 : -ENOMEM;
	r = r < 0 ? r : sum_block_get_order(&window->sums, memory, &order);
	for (uint32_t g = 0; g < window->sums.groups_count && r == 0; g++)
		r = sum_block_add_group(&window->sums, memory, g, groups);
	r = r < 0 ? r : stack_sums_get(groups, &values);
	if (r < 0)
		return r;
	const uint64_t *places = ARRAY(uint64_t, window->places);
	autofree uint64_t *in_order = malloc(((size_t)count + 1) * sizeof(*in_order));
	if (!in_order)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		in_order[order[i]] = values[i];
	r = sum_block_add_total(&window->sums, memory, totals);
	r = r < 0 ? r : stack_sums_get(totals, &values);
	for (uint32_t i = 0; i < count && r == 0; i++) {
		if (values[i] != in_order[i])
			*ret_wrong = "the groups do not add up to the total of a stack";
		else if (window->has_detail && values[i] != places[i])
			*ret_wrong = "a stack has another total than in detail";
	}
	return r;
}

static int verify_compare_sums(struct verify_window *window, bool has_members)
{
	const char *wrong = NULL;
	int r = verify_compare_places(window, &wrong);
	if (verify_is_damage(r))
		wrong = verify_reason(r);
	else if (r < 0)
		return r;
	if (!wrong && window->verify->is_dict_whole)
		wrong = verify_compare_groups(window, has_members);
	return wrong ? verify_unit_damage(window, verify_sums_name(window), "sums",
	                       "nothing is missing: answers of whole windows are wrong", wrong)
	             : 0;
}

static int verify_unit(struct verify_window *window, uint32_t number)
{
	struct verify *verify = window->verify;
	const struct window_unit *unit = &window->record.units[number];
	bool has_members = false;
	uint64_t damaged = verify->summary.damaged;
	window->number = number;
	window->rows = 0;
	/* Detail may have been forgotten, also of a unit without rows; a rollup never had any. */
	bool had_detail = !verify_is_rollup(window) && unit->chunks > 0;
	window->has_detail = had_detail;
	buf_reset(&window->facts);
	buf_reset(&window->instances);
	int r = verify_unit_names(window);
	if (r < 0)
		return r;
	r = verify_open_sums(window);
	if (verify_is_damage(r)) {
		r = verify_unit_damage(window, verify_sums_name(window), "sums",
		        "this service and type in this window, all of it", verify_reason(r));
		window->groups = NULL;
		r = r < 0 ? r : verify_members(window, &has_members);
		return r < 0 ? r : verify_detail_alone(window);
	}
	r = r < 0 ? r : verify_open_values(window);
	r = r < 0 ? r : verify_members(window, &has_members);
	if (r == 0 && unit->chunks == 0 && (unit->rows > 0 || !verify_is_rollup(window)))
		return 0; /* its rows were erased: sums and members stand for themselves */
	for (uint32_t i = 0; had_detail && i < unit->chunks && r == 0; i++)
		r = verify_detail_chunk(window, has_members, i);
	verify->summary.rows += window->rows;
	if (r < 0)
		return r;
	/* One cause is told of once. */
	if (verify->summary.damaged == damaged && has_members && had_detail) {
		const char *wrong = verify_compare_members(window);
		if (wrong)
			r = verify_unit_damage(window, verify_sums_name(window), "members",
			        "nothing of rows: coverage and losses are wrong", wrong);
	}
	if (r == 0 && window->has_detail && window->rows != unit->rows)
		r = verify_unit_damage(window, "window", "unit", "",
		        "its record says another number of rows than detail has");
	if (r == 0 && verify->summary.damaged == damaged)
		r = verify_compare_sums(window, has_members);
	return r;
}

/* ---- one window ---- */

/* No (tenant, series) in two units: it would be counted twice. */
static int verify_owners(struct verify_window *window, const struct buf *per_unit)
{
	const uint64_t *owned = ARRAY(uint64_t, *per_unit);
	size_t count = ARRAY_COUNT(uint64_t, *per_unit);
	for (size_t i = 1; i < count; i++)
		if (owned[i] == owned[i - 1])
			return verify_damage(window->verify, &window->place,
			        "nothing: a series is counted twice",
			        "series %" PRIu32 " is in two units", (uint32_t)owned[i]);
	return 0;
}

/* What one unit owns, each once, behind what the others do. */
static void verify_settle_owned(struct buf *owned, size_t before)
{
	uint64_t *first = (uint64_t *)(void *)(owned->bytes + before);
	size_t count = (owned->count - before) / sizeof(*first);
	size_t kept = 0;
	if (count > 1)
		qsort(first, count, sizeof(*first), verify_compare_u64);
	for (size_t i = 0; i < count; i++)
		if (i == 0 || first[i] != first[i - 1])
			first[kept++] = first[i];
	owned->count = before + kept * sizeof(*first);
}

/* Erased, or being erased: some of its blocks may be there and others not. */
static bool verify_is_erased(const struct verify_window *window, uint32_t unit)
{
	return window->record.units[unit].is_gone ||
	       expiry_parts(&window->verify->erasing, window->key, unit) != 0;
}

static int verify_units(struct verify_window *window)
{
	/* What cannot be read may have had values. */
	buf_reset(&window->values_apart);
	for (uint32_t i = 0; i < window->record.units_count; i++)
		buf_put_u8(&window->values_apart, true);
	int r = window->values_apart.failed ? -ENOMEM : 0;
	for (uint32_t i = 0; i < window->record.units_count && r == 0; i++) {
		size_t before = window->owned.count;
		if (verify_is_erased(window, i))
			continue;
		r = verify_unit(window, i);
		if (window->owned.count > before)
			verify_settle_owned(&window->owned, before);
		uint32_t tenant = UINT32_MAX;
		for (uint32_t j = 0; j < window->verify->tenants_count; j++)
			if (strcmp(window->verify->tenants[j].name,
			            window->record.tenants[window->record.units[i].tenant]) == 0)
				tenant = j;
		/* Rollups have the same rows once more. */
		if (tenant != UINT32_MAX && !verify_is_rollup(window))
			window->verify->tenants[tenant].rows += window->rows;
	}
	verify_sort(&window->owned, sizeof(uint64_t), verify_compare_u64);
	/* Parts of a unit may differ from window to window, and so overlap in a rollup. */
	return r < 0 || verify_is_rollup(window) ? r : verify_owners(window, &window->owned);
}

static void verify_put_window(struct verify_place *place, struct key_window key)
{
	verify_put_time(place, key.from_ns);
	verify_put(place, " to ");
	verify_put_time(place, key.to_ns);
	if (key.generation)
		verify_put(place, " generation %" PRIu32, key.generation);
}

static int verify_compare_sources(const void *a, const void *b)
{
	const struct verify_source *x = a;
	const struct verify_source *y = b;
	if (x->level != y->level)
		return x->level < y->level ? -1 : 1;
	return key_window_compare(x->key, y->key);
}

static int verify_put_sources(struct verify_window *window)
{
	for (uint32_t i = 0; i < window->record.sources_count; i++) {
		struct verify_source source = { window->record.sources[i],
			key_window_level(window->key) };
		buf_put(&window->sources, &source, sizeof(source));
	}
	return window->sources.failed ? -ENOMEM : 0;
}

/* With window->record: false when it cannot be read. */
static int verify_window_record(
        struct verify_window *window, struct kv_bytes key, struct kv_bytes value, bool *ret_is_read)
{
	window->place = (struct verify_place){ .family = "window" };
	verify_put_window(&window->place, window->key);
	buf_reset(&window->intervals);
	buf_reset(&window->owned);
	window_fini(&window->record);
	int r = window_get(key, value, window->key, &window->record);
	r = r < 0 ? r : verify_turn_to(window->verify, window->record.dictionary);
	*ret_is_read = r == 0 && !expiry_has_window(&window->verify->erasing, window->key);
	window->verify->summary.windows++;
	if (verify_is_damage(r))
		return verify_damage(window->verify, &window->place,
		        "everything that was sealed of this window", "%s", verify_reason(r));
	if (r < 0 || !*ret_is_read)
		return r;
	r = verify_put_sources(window);
	r = r < 0 ? r : verify_watchers(window);
	return r < 0 ? r : verify_units(window);
}

/* No window is in two rollups of a level: it would be counted twice. */
static int verify_sources(struct verify_window *window)
{
	struct verify_source *sources = ARRAY(struct verify_source, window->sources);
	size_t count = ARRAY_COUNT(struct verify_source, window->sources);
	int r = 0;
	verify_sort(&window->sources, sizeof(*sources), verify_compare_sources);
	for (size_t i = 1; i < count && r == 0; i++) {
		struct verify_place place = { .family = "window" };
		if (verify_compare_sources(&sources[i - 1], &sources[i]) != 0)
			continue;
		verify_put_window(&place, sources[i].key);
		r = verify_damage(window->verify, &place, "nothing: it is counted twice",
		        "it is in two rollups of level %" PRIu32, sources[i].level);
	}
	return r;
}

/* ---- blocks that nothing names ---- */

/* A family of blocks, one ahead. */
struct verify_blocks {
	struct verify_scan scan;
	const char *family;
	int is_valid; /* as verify_scan_next() said */
	struct kv_bytes key;
	struct kv_bytes value;
};

static bool verify_has_unit(const struct verify_window *window, const struct key_block *key)
{
	return key->unit < window->record.units_count && !window->record.units[key->unit].is_gone;
}

static bool verify_is_named(const struct verify_window *window, const struct key_block *key)
{
	const struct window *record = &window->record;
	switch (key->part) {
	case KEYS_BLOCK_WATCHERS:
		return key->unit == KEYS_UNIT_NONE && key->chunk < record->watchers_chunks;
	case KEYS_BLOCK_SUMS:
		return verify_has_unit(window, key) && key->chunk == 0;
	case KEYS_BLOCK_VALUES:
		return verify_has_unit(window, key) && key->chunk == 0 &&
		       window->values_apart.bytes[key->unit];
	case KEYS_BLOCK_MEMBERS:
		return verify_has_unit(window, key) &&
		       (key->chunk == 0 || (verify_is_rollup(window) &&
		                                   key->chunk < record->units[key->unit].chunks));
	case KEYS_BLOCK_DETAIL:
		return verify_has_unit(window, key) && key->chunk < record->units[key->unit].chunks;
	}
	return false;
}

static int verify_blocks_next(struct verify_blocks *blocks)
{
	blocks->is_valid = verify_scan_next(&blocks->scan, &blocks->key, &blocks->value);
	return blocks->is_valid < 0 ? blocks->is_valid : 0;
}

static int verify_blocks_garbage(struct verify_blocks *blocks, struct key_window of, uint64_t count)
{
	struct verify_place place = { .family = blocks->family };
	if (count == 0)
		return 0;
	verify_put_window(&place, of);
	verify_put(&place, ": %" PRIu64 " blocks", count);
	return verify_garbage(blocks->scan.verify, &place,
	        "nothing names them: an attempt to seal that did not end, which the next one "
	        "removes");
}

/* How a block lies to a window: negative before it, 0 inside, positive behind. */
static int verify_blocks_compare(const struct verify_blocks *blocks, struct kv_bytes window)
{
	size_t count = blocks->key.count < window.count ? blocks->key.count : window.count;
	int order = memcmp(blocks->key.bytes, window.bytes, count);
	return order ? order : blocks->key.count < window.count ? -1 : 0;
}

static bool verify_is_same(struct key_window a, struct key_window b)
{
	return a.from_ns == b.from_ns && a.to_ns == b.to_ns && a.generation == b.generation;
}

/* Passes blocks up to the window's key, or to the end of all where it is empty. */
static int verify_blocks_before(struct verify_blocks *blocks, struct kv_bytes window)
{
	struct key_window of = { 0 };
	uint64_t count = 0;
	int r = 0;
	while (r == 0 && blocks->is_valid > 0 &&
	        (window.count == 0 || verify_blocks_compare(blocks, window) < 0)) {
		struct key_block key;
		if (keys_get_block(blocks->key.bytes, blocks->key.count, &key) < 0) {
			struct verify_place place = { .family = blocks->family };
			verify_put(&place, "a key of %zu bytes", blocks->key.count);
			r = verify_damage(
			        blocks->scan.verify, &place, "", "no key that this family has");
		} else if (count > 0 && verify_is_same(of, key.window)) {
			count++;
		} else {
			r = verify_blocks_garbage(blocks, of, count);
			of = key.window;
			count = 1;
		}
		r = r < 0 ? r : verify_blocks_next(blocks);
	}
	return r < 0 ? r : verify_blocks_garbage(blocks, of, count);
}

/* Passes the blocks of the window. */
static int verify_blocks_of(struct verify_blocks *blocks, const struct verify_window *window,
        bool is_read, struct kv_bytes window_key)
{
	uint64_t count = 0;
	int r = 0;
	while (r == 0 && blocks->is_valid > 0 && verify_blocks_compare(blocks, window_key) == 0) {
		struct key_block key;
		if (is_read && (keys_get_block(blocks->key.bytes, blocks->key.count, &key) < 0 ||
		                       !verify_is_named(window, &key)))
			count++;
		r = verify_blocks_next(blocks);
	}
	return r < 0 ? r : verify_blocks_garbage(blocks, window->key, count);
}

static int verify_blocks_init(
        struct verify_blocks *blocks, struct verify *verify, enum kv_family of, const char *family)
{
	*blocks = (struct verify_blocks){ .family = family };
	int r = verify_scan_init(&blocks->scan, verify, of, family);
	return r < 0 ? r : verify_blocks_next(blocks);
}

static int verify_window(struct verify_window *window, struct verify_blocks *blocks,
        struct kv_bytes key, struct kv_bytes value)
{
	uint8_t window_bytes[KEYS_WINDOW_BYTES];
	struct kv_bytes window_key = { window_bytes, sizeof(window_bytes) };
	bool is_read;
	if (keys_get_window(key.bytes, key.count, &window->key) < 0) {
		struct verify_place place = { .family = "window" };
		verify_put(&place, "a key of %zu bytes", key.count);
		return verify_damage(window->verify, &place, "what was sealed under it",
		        "no key that this family has");
	}
	keys_put_window(window->key, window_bytes);
	int r = 0;
	for (size_t i = 0; i < VERIFY_BLOCK_FAMILIES && r == 0; i++)
		r = verify_blocks_before(&blocks[i], window_key);
	r = r < 0 ? r : verify_window_record(window, key, value, &is_read);
	for (size_t i = 0; i < VERIFY_BLOCK_FAMILIES && r == 0; i++)
		r = verify_blocks_of(&blocks[i], window, is_read, window_key);
	return r;
}

static void verify_window_fini(struct verify_window *window)
{
	window_fini(&window->record);
	detail_memory_free(window->members_memory);
	buf_fini(&window->intervals);
	buf_fini(&window->owned);
	buf_fini(&window->sources);
	buf_fini(&window->members_bytes);
	buf_fini(&window->sums_bytes);
	buf_fini(&window->values_bytes);
	buf_fini(&window->values_apart);
	buf_fini(&window->facts);
	buf_fini(&window->sums_of);
	buf_fini(&window->instances);
	buf_fini(&window->places);
}

int verify_windows(struct verify *verify)
{
	struct verify_window window = { .verify = verify, .members_memory = detail_memory_new() };
	static const struct {
		enum kv_family family;
		const char *name;
	} families[VERIFY_BLOCK_FAMILIES] = {
		{ KV_SUMS, "sums" },
		{ KV_SUMS_HOUR, "sums_hour" },
		{ KV_SUMS_DAY, "sums_day" },
		{ KV_DETAIL, "detail" },
	};
	struct verify_blocks blocks[VERIFY_BLOCK_FAMILIES] = { 0 };
	struct verify_scan scan = { 0 };
	struct kv_bytes key = { 0 }, value = { 0 };
	int r = window.members_memory ? 0 : -ENOMEM;
	r = r < 0 ? r : verify_scan_init(&scan, verify, KV_WINDOW, "window");
	for (size_t i = 0; i < COUNT_OF(families) && r == 0; i++)
		r = verify_blocks_init(&blocks[i], verify, families[i].family, families[i].name);
	while (r >= 0 && (r = verify_scan_next(&scan, &key, &value)) > 0)
		r = verify_window(&window, blocks, key, value);
	for (size_t i = 0; i < COUNT_OF(blocks) && r >= 0; i++)
		r = verify_blocks_before(&blocks[i], (struct kv_bytes){ 0 });
	r = r < 0 ? r : verify_sources(&window);
	verify_scan_fini(&scan);
	for (size_t i = 0; i < COUNT_OF(blocks); i++)
		verify_scan_fini(&blocks[i].scan);
	verify_window_fini(&window);
	return r;
}
