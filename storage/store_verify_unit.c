/*
 * A unit says the same thing three times, in detail, in sums and in members. Here they are added up
 * anew, each from its rows, and compared:
 *
 *	detail    rows by place and by group, coverage and losses by (series, stream)
 *	members   coverage and losses by (series, stream): equal to detail's, and by group
 *	sums      rows by place: equal to detail's; groups: equal to what members and rows give
 *
 * Where detail was forgotten, and in rollups, sums and members are compared with each other.
 */

#include "storage/store_verify_window_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

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

/* Sums of this check itself: what passes 64 bits cannot be equal to anything. */
static uint64_t verify_add(uint64_t a, uint64_t b)
{
	uint64_t sum;
	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

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

int verify_unit(struct verify_window *window, uint32_t number)
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
