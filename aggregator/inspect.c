/*
 * Series and labels are those with data in the asked range: the range is read once, noting for each
 * series when it was first and last seen, and the rest is counting. Where only sums are left, the
 * windows say who was in them; their times are as exact as the windows are long, and are taken
 * where nothing finer tells of that time.
 */

#include "aggregator/inspect.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "profile/answer_json.h"
#include "profile/selector.h"
#include "storage/store_expire.h"

/* When a series was seen in the range; last_ns 0 is never. */
struct seen {
	uint64_t first_ns;
	uint64_t last_ns;
};

struct sight {
	struct store *store;
	const bool *cancelled;
	struct selector *selector;
	uint64_t from_ns, to_ns; /* of the range */
	/* What could not be read, and where the range cuts windows; nothing else of it. */
	struct completeness missing;
	struct store_match *match;
	struct seen *seen_of; /* by place in the match */
	/* What was seen, of whichever generation of the store's dictionary, in one dict. */
	struct dict *dict;
	struct seen *seen; /* by series of it */
	uint32_t series_count;
};

static void sight_note(struct sight *sight, uint32_t place, const struct batch *batch)
{
	struct seen *seen = &sight->seen_of[place];
	if (seen->last_ns == 0 || batch->start_ns < seen->first_ns)
		seen->first_ns = batch->start_ns;
	if (batch->start_ns + batch->duration_ns > seen->last_ns)
		seen->last_ns = batch->start_ns + batch->duration_ns;
}

static int sight_compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static int sight_visit(void *owner, const struct store_stream *stream, const struct batch *batch)
{
	(void)stream;
	struct sight *sight = owner;
	if (__atomic_load_n(sight->cancelled, __ATOMIC_RELAXED))
		return -ECANCELED;

	const struct store_match_part *part = store_match_find(sight->match, batch->dict);
	uint32_t before = SERIES_NONE;
	for (uint32_t i = 0; part && part->series_count && i < batch->rows_count; i++) {
		uint32_t series = batch->rows[i].series;
		const uint32_t *found;
		if (series == before)
			continue;
		before = series;
		found = bsearch(&series, part->series, part->series_count, sizeof(series),
		        sight_compare_ids);
		if (found)
			sight_note(sight, part->first + (uint32_t)(found - part->series), batch);
	}
	return 0;
}

/* Of a window from which rows are gone. Finer windows come before coarser ones. */
static void sight_note_window(
        struct sight *sight, uint32_t place, const struct store_inventory_unit *unit)
{
	struct seen *seen = &sight->seen_of[place];
	uint64_t from_ns = unit->window.from_ns, to_ns = unit->window.to_ns;
	if (unit->first_ns > from_ns && unit->first_ns < to_ns)
		from_ns = unit->first_ns;
	if (seen->last_ns > unit->window.from_ns && seen->first_ns < to_ns)
		return;
	if (seen->last_ns == 0 || from_ns < seen->first_ns)
		seen->first_ns = from_ns;
	if (to_ns > seen->last_ns)
		seen->last_ns = to_ns;
}

/* Nobody knows whose series are in it: a window whose record is damaged, or a unit's members. */
static void sight_note_unreadable(struct sight *sight, const struct store_inventory_unit *unit)
{
	struct completeness *to = &sight->missing;
	struct unreadable one;
	memset(&one, 0, sizeof(one));
	one.from_ns = unit->window.from_ns;
	one.to_ns = unit->window.to_ns;
	bool is_window = unit->unit == STORE_UNIT_NONE;
	snprintf(one.what, sizeof(one.what), is_window ? "window" : "members");
	if (!is_window) {
		snprintf(one.service, sizeof(one.service), "%s", unit->service);
		snprintf(one.type, sizeof(one.type), "%s", unit->type);
	}
	/* The scan may have met it already. */
	for (uint32_t i = 0; i < to->unreadable_count; i++)
		if (memcmp(&to->unreadable[i], &one, sizeof(one)) == 0)
			return;
	to->corrupt++;
	if (to->unreadable_count < ANSWER_UNREADABLE_MAX)
		to->unreadable[to->unreadable_count++] = one;
}

/* What is damaged of other services is nothing that this answer misses. */
static void sight_keep_own(struct sight *sight)
{
	struct completeness *to = &sight->missing;
	uint32_t kept = 0;
	for (uint32_t i = 0; i < to->unreadable_count; i++) {
		const struct unreadable *one = &to->unreadable[i];
		struct selector_known known = { .type = one->type, .service = one->service };
		if (!*one->type || selector_judge(sight->selector, known) != SELECTOR_NONE)
			to->unreadable[kept++] = *one;
		else
			to->corrupt--;
	}
	to->unreadable_count = kept;
}

static void sight_note_cut(struct sight *sight, const struct store_inventory_unit *unit)
{
	struct completeness *to = &sight->missing;
	uint64_t wide_ns = unit->window.to_ns - unit->window.from_ns;
	if (unit->window.from_ns < sight->from_ns && wide_ns > to->cut_begin_ns)
		to->cut_begin_ns = wide_ns;
	if (unit->window.to_ns > sight->to_ns && unit->last_ns >= sight->to_ns &&
	        wide_ns > to->cut_end_ns)
		to->cut_end_ns = wide_ns;
}

/* Both lists ascend. In the gate. */
static int sight_visit_sums(void *owner, const struct store_inventory_unit *unit)
{
	struct sight *sight = owner;
	if (__atomic_load_n(sight->cancelled, __ATOMIC_RELAXED))
		return -ECANCELED;
	if (unit->is_corrupt)
		sight_note_unreadable(sight, unit);
	const struct store_match_part *part = store_match_find(sight->match, unit->dict);
	for (uint32_t i = 0, j = 0; part && i < unit->series_count && j < part->series_count;) {
		if (unit->series[i] < part->series[j]) {
			i++;
		} else if (unit->series[i] > part->series[j]) {
			j++;
		} else {
			sight_note_window(sight, part->first + j, unit);
			sight_note_cut(sight, unit);
			i++;
			j++;
		}
	}
	return 0;
}

/* What has rows, then what has sums alone. */
static int sight_read(struct sight *sight)
{
	struct store_inventory_options sums = { .from_ns = sight->from_ns,
		.to_ns = sight->to_ns,
		.wants_series = true,
		.sums_alone = true };
	int r = store_scan_noting(sight->store, sight->from_ns, sight->to_ns, sight->match,
	        sight_visit, sight, &sight->missing);
	r = r ? r : store_inventory(sight->store, sums, sight_visit_sums, sight);
	sight_keep_own(sight);
	return r;
}

static void sight_fini(struct sight *sight)
{
	store_match_free(sight->match);
	selector_free(sight->selector);
	dict_free(sight->dict);
	free(sight->seen_of);
	free(sight->seen);
}

#define AUTO_SIGHT __attribute__((cleanup(sight_fini))) struct sight

/* What was seen of one part, into the dict of all. */
static int sight_join_part(struct sight *sight, const struct store_match_part *part)
{
	AUTO(dict_remap) remap = dict_remap_new(part->dict, sight->dict);
	int r = remap ? 0 : -ENOMEM;
	for (uint32_t i = 0; i < part->series_count && r == 0; i++) {
		const struct seen *from = &sight->seen_of[part->first + i];
		uint32_t series;
		if (from->last_ns == 0)
			continue;
		r = dict_remap_series(remap, part->series[i], &series);
		if (r < 0)
			break;
		struct seen *seen = &sight->seen[series];
		if (seen->last_ns == 0 || from->first_ns < seen->first_ns)
			seen->first_ns = from->first_ns;
		if (from->last_ns > seen->last_ns)
			seen->last_ns = from->last_ns;
	}
	return r;
}

static int sight_join(struct sight *sight)
{
	sight->dict = dict_new(dict_limits_default);
	sight->seen = calloc((size_t)sight->match->series_count + 1, sizeof(*sight->seen));
	int r = sight->dict && sight->seen ? 0 : -ENOMEM;
	store_read_lock(sight->store);
	for (uint32_t i = 0; i < sight->match->parts_count && r == 0; i++)
		r = sight_join_part(sight, &sight->match->parts[i]);
	store_read_unlock(sight->store);
	if (r == 0)
		sight->series_count = dict_mark(sight->dict).series;
	return r == -ENOSPC ? -ENOMEM : r;
}

/* Fills seen for the selector's series. */
static int sight_take(struct sight *sight, const struct wire_query_side *side, char *ret_error,
        size_t error_bytes)
{
	char text[SELECTOR_BYTES_MAX + 1];
	if (side->selector.count > SELECTOR_BYTES_MAX) {
		snprintf(ret_error, error_bytes, "selector: longer than %d bytes",
		        SELECTOR_BYTES_MAX);
		return -EINVAL;
	}
	if (side->selector.count)
		memcpy(text, side->selector.bytes, side->selector.count);
	text[side->selector.count] = 0;

	sight->from_ns = side->from_ns;
	sight->to_ns = side->to_ns;
	int r = selector_parse(text, &sight->selector, ret_error, error_bytes);
	if (r < 0)
		return r;

	r = store_find_series(
	        sight->store, sight->selector, side->from_ns, side->to_ns, &sight->match);
	if (r == 0) {
		sight->seen_of = calloc(
		        (size_t)sight->match->series_count + 1, sizeof(*sight->seen_of));
		r = sight->seen_of ? sight_read(sight) : -ENOMEM;
	}
	r = r < 0 ? r : sight_join(sight);
	if (r < 0)
		snprintf(ret_error, error_bytes, "%s",
		        r == -ENOMEM ? "out of memory: narrow the selector or the time range"
		        : r == -ECANCELED
		                ? "the aggregator is stopping"
		                : "the store could not be read: see the aggregator's log");
	return r;
}

static void put_missing(struct json_writer *json, const struct completeness *missing)
{
	json_key(json, "completeness");
	json_object_begin(json);
	answer_json_unreadable(missing, json);
	answer_json_edges(missing, json);
	json_object_end(json);
}

static void put_series(
        struct json_writer *json, const struct dict *dict, uint32_t id, const struct seen *seen)
{
	const struct series *series = dict_get_series(dict, id);
	const struct label *labels = dict_get_labels(dict, id);

	json_object_begin(json);
	json_key_text(json, "type", dict_text(dict, series->type));
	json_key_text(json, "unit", dict_text(dict, series->unit));
	json_key_u64(json, "period", series->period);
	json_key(json, "labels");
	json_object_begin(json);
	for (uint32_t i = 0; i < series->labels_count; i++)
		json_key_text(
		        json, dict_text(dict, labels[i].name), dict_text(dict, labels[i].value));
	json_object_end(json);
	json_key_u64(json, "first_ns", seen->first_ns);
	json_key_u64(json, "last_ns", seen->last_ns);
	json_object_end(json);
}

int inspect_series(struct store *store, const struct wire_query *query, const bool *cancelled,
        struct buf *to, char *ret_error, size_t error_bytes)
{
	AUTO_SIGHT sight = { .store = store, .cancelled = cancelled };
	int r = sight_take(&sight, &query->sides[0], ret_error, error_bytes);
	if (r == 0) {
		struct json_writer json = json_writer_of(to, false);
		json_object_begin(&json);
		json_key_u64(&json, "schema_version", 1);
		json_key(&json, "series");
		json_array_begin(&json);
		for (uint32_t id = 0; id < sight.series_count; id++)
			if (sight.seen[id].last_ns)
				put_series(&json, sight.dict, id, &sight.seen[id]);
		json_array_end(&json);
		put_missing(&json, &sight.missing);
		json_object_end(&json);
	}
	return r;
}

/* How many of the seen series have each string as (a name, or a value of one name). */
struct tally {
	uint32_t string; /* id in the dict of what was seen */
	uint32_t count;
};

static int tally_compare_count(const void *a, const void *b)
{
	uint32_t count_a = ((const struct tally *)a)->count,
	         count_b = ((const struct tally *)b)->count;
	return (count_a < count_b) - (count_a > count_b);
}

static int tally_compare_string(const void *a, const void *b)
{
	uint32_t string_a = ((const struct tally *)a)->string,
	         string_b = ((const struct tally *)b)->string;
	return (string_a > string_b) - (string_a < string_b);
}

/* Adds up equal strings; returns how many are left. */
static uint32_t tally_settle(struct tally *tallies, uint32_t count)
{
	uint32_t kept = 0;
	qsort(tallies, count, sizeof(*tallies), tally_compare_string);
	for (uint32_t i = 0; i < count; i++) {
		if (kept > 0 && tallies[kept - 1].string == tallies[i].string)
			tallies[kept - 1].count += tallies[i].count;
		else
			tallies[kept++] = tallies[i];
	}
	return kept;
}

struct label_pair {
	uint32_t name;
	uint32_t value;
};

static int label_pair_compare(const void *a, const void *b)
{
	const struct label_pair *pair_a = a, *pair_b = b;
	if (pair_a->name != pair_b->name)
		return pair_a->name < pair_b->name ? -1 : 1;
	return (pair_a->value > pair_b->value) - (pair_a->value < pair_b->value);
}

/* Every label of every seen series; *ret_count of them, the caller frees. */
static struct label_pair *pairs_take(
        const struct sight *sight, const struct dict *dict, uint32_t *ret_count)
{
	uint32_t count = 0;
	for (uint32_t id = 0; id < sight->series_count; id++)
		if (sight->seen[id].last_ns)
			count += dict_get_series(dict, id)->labels_count;

	struct label_pair *pairs = calloc(count ? count : 1, sizeof(*pairs));
	if (!pairs)
		return NULL;
	uint32_t at = 0;
	for (uint32_t id = 0; id < sight->series_count; id++) {
		if (!sight->seen[id].last_ns)
			continue;
		const struct label *labels = dict_get_labels(dict, id);
		for (uint32_t i = 0; i < dict_get_series(dict, id)->labels_count; i++)
			pairs[at++] = (struct label_pair){ labels[i].name, labels[i].value };
	}
	*ret_count = count;
	return pairs;
}

/* {"labels":[{"name","values_count","series"}]}: how many distinct values, on how many series. */
static void put_label_names(
        struct json_writer *json, const struct dict *dict, struct label_pair *pairs, uint32_t count)
{
	qsort(pairs, count, sizeof(*pairs), label_pair_compare);
	json_key(json, "labels");
	json_array_begin(json);
	for (uint32_t i = 0; i < count;) {
		uint32_t name = pairs[i].name, first = i, values = 0;
		for (; i < count && pairs[i].name == name; i++)
			values += i == first || pairs[i].value != pairs[i - 1].value;
		json_object_begin(json);
		json_key_text(json, "name", dict_text(dict, name));
		json_key_u64(json, "values_count", values);
		json_key_u64(json, "series", i - first);
		json_object_end(json);
	}
	json_array_end(json);
}

/* {"label":"x","values":[{"value","series"}]}, the commonest first. */
static int put_label_values(struct json_writer *json, const struct dict *dict,
        const struct label_pair *pairs, uint32_t count, struct wire_text label)
{
	autofree struct tally *tallies = calloc(count ? count : 1, sizeof(*tallies));
	if (!tallies)
		return -ENOMEM;

	uint32_t name = dict_find_string(dict, label.bytes, label.count);
	uint32_t tallies_count = 0;
	for (uint32_t i = 0; i < count; i++)
		if (pairs[i].name == name)
			tallies[tallies_count++] = (struct tally){ pairs[i].value, 1 };
	tallies_count = tally_settle(tallies, tallies_count);
	qsort(tallies, tallies_count, sizeof(*tallies), tally_compare_count);

	json_key(json, "label");
	json_bytes(json, label.bytes, label.count);
	json_key(json, "values");
	json_array_begin(json);
	for (uint32_t i = 0; i < tallies_count; i++) {
		json_object_begin(json);
		json_key_text(json, "value", dict_text(dict, tallies[i].string));
		json_key_u64(json, "series", tallies[i].count);
		json_object_end(json);
	}
	json_array_end(json);
	return 0;
}

int inspect_labels(struct store *store, const struct wire_query *query, const bool *cancelled,
        struct buf *to, char *ret_error, size_t error_bytes)
{
	AUTO_SIGHT sight = { .store = store, .cancelled = cancelled };
	int r = sight_take(&sight, &query->sides[0], ret_error, error_bytes);
	if (r == 0) {
		const struct dict *dict = sight.dict;
		uint32_t count = 0;
		autofree struct label_pair *pairs = pairs_take(&sight, dict, &count);
		struct json_writer json = json_writer_of(to, false);
		json_object_begin(&json);
		json_key_u64(&json, "schema_version", 1);
		if (!pairs)
			r = -ENOMEM;
		else if (query->label.count == 0)
			put_label_names(&json, dict, pairs, count);
		else
			r = put_label_values(&json, dict, pairs, count, query->label);
		put_missing(&json, &sight.missing);
		json_object_end(&json);
		if (r < 0)
			snprintf(ret_error, error_bytes, "out of memory: narrow the selector");
	}
	return r;
}

struct agents_put {
	struct json_writer json;
	uint64_t now_ns;
};

static void put_uuid(struct json_writer *json, struct wire_uuid uuid)
{
	char text[2 * sizeof(uuid.bytes) + 5];
	size_t at = 0;
	for (size_t i = 0; i < sizeof(uuid.bytes); i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			text[at++] = '-';
		snprintf(text + at, 3, "%02x", uuid.bytes[i]);
		at += 2;
	}
	json_key_text(json, "uuid", text);
}

static int put_agent(void *owner, const struct store_agent *agent)
{
	struct agents_put *put = owner;
	struct json_writer *json = &put->json;
	const struct wire_agent_state *state = &agent->state;

	json_object_begin(json);
	put_uuid(json, agent->uuid);
	json_key_text(json, "host", agent->host);
	json_key_text(json, "program", agent->program);
	json_key_text(json, "tenant", agent->tenant);
	json_key_text(json, "role", agent->role == WIRE_ROLE_AGENT ? "agent" : "import");
	json_key_double(json, "hz", (double)state->hz_milli / 1000);
	json_key_u64(json, "first_seen_ns", agent->first_seen_ns);
	json_key_u64(json, "last_seen_ns", agent->last_seen_ns);
	json_key_u64(json, "last_interval_end_ns", agent->last_interval_end_ns);
	/* How old the newest thing we know of this host is. */
	json_key_u64(json, "lag_ns",
	        put->now_ns > agent->last_interval_end_ns
	                ? put->now_ns - agent->last_interval_end_ns
	                : 0);
	json_key_u64(json, "samples_taken", state->samples_taken);
	json_key_u64(json, "samples_sent", state->samples_sent);
	json_key_u64(json, "spool_samples", state->spool_samples);
	json_key_u64(json, "spool_bytes", state->spool_bytes);
	json_key_u64(json, "cpu_ns", state->cpu_ns);
	json_key_u64(json, "rss_bytes", state->rss_bytes);
	json_key(json, "lost");
	json_object_begin(json);
	for (uint32_t reason = 0; reason <= LOSS_REASON_MAX; reason++)
		if (state->lost[reason] > 0)
			json_key_u64(json, reason ? loss_reason_name(reason) : "unknown",
			        state->lost[reason]);
	json_object_end(json);
	json_object_end(json);
	return 0;
}

int inspect_agents(struct store *store, struct clock *clock, struct buf *to, char *ret_error,
        size_t error_bytes)
{
	struct agents_put put = { .json = json_writer_of(to, false),
		.now_ns = clock_unix_ns(clock) };
	json_object_begin(&put.json);
	json_key_u64(&put.json, "schema_version", 1);
	json_key(&put.json, "agents");
	json_array_begin(&put.json);
	int r = store_agents(store, put_agent, &put);
	json_array_end(&put.json);
	json_object_end(&put.json);
	if (r < 0)
		snprintf(ret_error, error_bytes,
		        "the store could not be read: see the aggregator's log");
	return r;
}
