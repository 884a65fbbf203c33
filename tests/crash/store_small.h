#pragma once

/*
 * A small store that has one of everything: two generations of the dictionary, a window and an hour
 * of each, a day, a window parted by policy, a unit erased, a
 * run within its grace, policies, holds and an audit log, symbols, an agent, and open batches in
 * the log. And everything it can be asked, so that what it answers after some damage can be told
 * from what it answered before.
 */

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "core/hash.h"
#include "storage/audit.h"
#include "storage/quarantine.h"
#include "storage/store_expire.h"
#include "tests/unit/storage/store_fixture.h"

#define SMALL_WINDOW_NS (20 * SECOND)
#define SMALL_ERASED    7 /* runs */
#define SMALL_HIDDEN    8

/* The clock it lives by: shared with whoever opens it, so that nothing depends on the day. */
static struct clock_virtual small_clock;

static struct store_options small_options(const char *path)
{
	struct store_options options = store_fixture_options(path);
	if (small_clock.now_unix_ns == 0)
		clock_virtual_init(&small_clock, UINT64_C(1000000) * SECOND);
	options.clock = &small_clock.clock;
	options.window_ns = SMALL_WINDOW_NS;
	options.roll_ns[0] = SMALL_WINDOW_NS;
	options.roll_ns[1] = 2 * options.roll_ns[0];
	options.block_cache_bytes = 1 << 20;
	options.write_buffers_bytes = 1 << 20;
	return options;
}

/* ---- how it is made ---- */

/* So many nodes that their delta is packed, and its text apart. */
static uint32_t small_deep_stack(struct source *source)
{
	uint32_t frames[70];
	uint32_t node;
	struct frame frame = { .kind = FRAME_MANAGED,
		.function = source_string(
		        source, "f0::that_calls_itself_until_it_is_deep_enough") };
	CHECK_OK(dict_frame(source->dict, &frame, &frames[0]));
	for (uint32_t i = 1; i < COUNT_OF(frames); i++)
		frames[i] = frames[0];
	CHECK_OK(dict_stack(source->dict, frames, COUNT_OF(frames), &node));
	return node;
}

static void small_append(
        struct store *store, struct source *source, uint32_t seq, uint64_t start_ns)
{
	static const char *const services[] = { "cart", "shop" };
	source_begin(source, start_ns, 5 * SECOND);
	for (uint32_t i = 0; i < 4; i++) {
		char name[16];
		snprintf(name, sizeof(name), "i%u", i);
		uint32_t series = source_series(source, services[i % 2], name, 1);
		for (uint32_t j = 0; j < 3; j++) {
			snprintf(name, sizeof(name), "f%u", (seq + i * j) % 7);
			CHECK_OK(batch_add_row(source->batch, series, source_stack(source, name),
			        1 + seq * 3 + j));
		}
		CHECK_OK(batch_add_coverage(source->batch, series, 5 * SECOND));
		if (i == 0 && (seq == 1 || seq == 4)) /* the first of a generation */
			CHECK_OK(batch_add_row(source->batch, series, small_deep_stack(source), 2));
	}
	CHECK_OK(batch_add_loss(source->batch, SERIES_NONE, LOSS_PERF_LOST, seq));
	assert_int_equal(source_append(source, store, seq), WIRE_OK);
}

static void small_append_some(
        struct store *store, struct source *source, uint32_t seq, uint32_t until)
{
	for (; seq < until; seq++)
		small_append(store, source, seq, seq * 5 * SECOND);
}

static uint32_t small_class(
        void *owner, const char *tenant, const struct dict *dict, uint32_t series)
{
	const char *text = dict_text(
	        dict, dict_label_value(dict, series, dict_find_string(dict, "instance", 8)));
	return (uint32_t)(text[1] - '0') / 2; /* i0 and i1; i2 and i3: both have both services */
}

static struct store_window_name small_window(uint32_t number)
{
	return (struct store_window_name){ 0, 0, number * SMALL_WINDOW_NS,
		(number + 1) * SMALL_WINDOW_NS };
}

static void small_retain(struct store *store)
{
	struct store_expire_item erased = { small_window(0), 0, STORE_PART_DETAIL };
	struct store_expire_item hidden = { small_window(1), 1, STORE_PART_ALL };
	struct store_run run = { .id = SMALL_ERASED, .note = "erased" };
	struct store_expired expired;
	struct store_resealed resealed;
	CHECK_OK(store_hide(store, &run, &erased, 1, &expired));
	CHECK_OK(store_erase(store, SMALL_ERASED, NULL, &expired));
	CHECK_OK(store_reseal(store, small_window(0), small_class, NULL, &resealed));
	CHECK(resealed.units_parted > 0);
	run = (struct store_run){ .id = SMALL_HIDDEN, .hidden_ns = 1, .erase_ns = UINT64_MAX };
	CHECK_OK(store_hide(store, &run, &hidden, 1, &expired));
	CHECK(expired.missing == 0 && expired.rows > 0);
}

static void small_administer(struct store *store)
{
	static const char *const names[] = { "policies", "holds", "policies" };
	for (uint32_t i = 0; i < COUNT_OF(names); i++) {
		char text[32];
		snprintf(text, sizeof(text), "{\"%s\": %u}", names[i], i);
		struct audit_document document = { names[i], text, strlen(text) };
		struct audit_entry entry = { .actor = "me@host", .action = names[i] };
		CHECK_OK(store_administer(store, &document, 1, &entry, NULL));
	}
}

static void small_put_rest(struct store *store)
{
	struct store_agent agent = { .host = "host", .program = "agent" };
	AUTO(symbols_builder) builder = symbols_builder_new();
	AUTO_BUF table = { 0 };
	assert_non_null(builder);
	CHECK_OK(symbols_builder_add(builder, 0x1000, 16, "work", 4));
	CHECK_OK(symbols_builder_finish(builder, &table));
	CHECK_OK(store_agent_put(store, &agent));
	CHECK_OK(store_symbols_put(store, "c0ffee", "", 0));
	CHECK_OK(store_symbols_put(store, "cafe", table.bytes, table.count));
}

/* Leaves it open, with its last batches in the log. */
static struct store *small_make(const char *path)
{
	struct store_size size;
	struct store *store = store_fixture_open_with(small_options(path));
	struct source source = source_new(store, 1);
	small_append_some(store, &source, 1, 4);
	CHECK_OK(store_seal(store, SMALL_WINDOW_NS));
	clock_virtual_advance(&small_clock, UINT64_C(8) * 86400 * SECOND);
	small_append_some(store, &source, 4, 8);
	CHECK_OK(store_seal(store, 2 * SMALL_WINDOW_NS));
	CHECK_OK(store_roll(store, 2 * SMALL_WINDOW_NS));
	small_retain(store);
	small_administer(store);
	small_put_rest(store);
	CHECK_OK(store_flush(store));
	small_append_some(store, &source, 20, 23);
	source_free(&source);
	CHECK_OK(store_size(store, &size));
	CHECK(size.generations == 2 && size.windows == 2 && size.rollups >= 3);
	return store;
}

/* ---- what it answers ---- */

/* Of whole windows, of parts of some, of one label, of one service; by series, which is detail at
 * the end, and in one group, which is sums and rollups. */
static const struct small_question {
	const char *selector;
	uint64_t from_s, to_s;
	bool is_by_series;
} small_questions[] = {
	{ "cpu", 0, 1000, true },
	{ "cpu", 7, 101, true },
	{ "cpu{instance=\"i1\"}", 0, 1000, true },
	{ "cpu{service=\"shop\"}", 0, 40, true },
	{ "cpu", 0, 1000, false },
	{ "cpu{service=\"cart\"}", 0, 40, false },
	{ "cpu{service=\"shop\"}", 20, 40, false },
};

#define SMALL_QUESTIONS COUNT_OF(small_questions)

struct small_answers {
	uint64_t sums[SMALL_QUESTIONS];
	uint64_t batches;
	uint64_t samples;
	struct store_counters counters;
	uint64_t inventory;
	uint64_t runs;
	uint64_t admin;
	const char *wrong; /* which of these is not what was expected, and does not say so */
};

enum small_verdict { SMALL_EXACT, SMALL_REFUSED, SMALL_NAMED, SMALL_WRONG, SMALL_VERDICTS };

/* What one question came to: an error, or an answer that says it is not all, or is to be equal. */
struct small_outcome {
	int result;
	bool is_named;
	bool is_equal;
};

static enum small_verdict small_judge(struct small_answers *answers, const char *what,
        enum small_verdict before, struct small_outcome outcome)
{
	enum small_verdict verdict = outcome.result < 0 ? SMALL_REFUSED
	                             : outcome.is_named ? SMALL_NAMED
	                             : outcome.is_equal ? SMALL_EXACT
	                                                : SMALL_WRONG;
	if (verdict == SMALL_WRONG)
		answers->wrong = what;
	return verdict > before ? verdict : before;
}

static uint64_t small_mix(uint64_t hash, const void *bytes, size_t count)
{
	uint64_t both[2] = { hash, hash64_bytes(bytes, count) };
	return hash64_bytes(both, sizeof(both));
}

static uint64_t small_mix_text(uint64_t hash, const char *text)
{
	return small_mix(hash, text, strlen(text));
}

static uint64_t small_hash_sum(const struct store_match *match, const struct store_sum *sum)
{
	uint64_t hash = 0;
	for (uint32_t i = 0; i < sum->parts_count; i++) {
		const struct dict *dict = match->parts[i].dict;
		for (uint32_t j = 0; j < sum->parts[i].rows_count; j++) {
			const struct store_sum_row *row = &sum->parts[i].rows[j];
			struct frame frame = dict_get_frame(
			        dict, dict_get_node(dict, row->node).frame);
			const char *name = dict_text(dict, frame.function);
			hash += (hash64_bytes(name, strlen(name)) ^ row->group) * (row->value + 1);
		}
	}
	hash += hash64_bytes(sum->coverage_ns, match->series_count * sizeof(*sum->coverage_ns));
	/* From a rollup, or from what it was made of where that cannot be read: the same answer. */
	struct completeness completeness = sum->completeness;
	completeness.resolution_finest_ns = 0;
	completeness.resolution_coarsest_ns = 0;
	return hash + hash64_bytes(&completeness, sizeof(completeness));
}

/* The names of an old generation are read now: they may be damaged. */
static int small_find(struct store *store, const char *text, uint64_t from_ns, uint64_t to_ns,
        struct store_match **ret_match)
{
	char error[256] = "";
	struct selector *selector;
	CHECK_OK(selector_parse(text, &selector, error, sizeof(error)));
	int r = store_find_series(store, selector, from_ns, to_ns, ret_match);
	selector_free(selector);
	return r;
}

static struct small_outcome small_ask_sum(
        struct store *store, const struct small_question *question, uint64_t *answer)
{
	uint64_t from_ns = question->from_s * SECOND;
	uint64_t to_ns = question->to_s * SECOND;
	AUTO(store_match) match = NULL;
	int found = small_find(store, question->selector, from_ns, to_ns, &match);
	if (found < 0)
		return (struct small_outcome){ .result = found };
	autofree uint32_t *groups = store_fixture_groups(match);
	struct store_sum sum;
	struct store_sum_options options = {
		.from_ns = from_ns,
		.to_ns = to_ns,
		.match = match,
		.groups = groups,
		.memory_max = 1 << 20,
	};
	if (!question->is_by_series)
		memset(groups, 0, match->series_count * sizeof(*groups));
	int r = store_sum(store, &options, &sum);
	if (r < 0)
		return (struct small_outcome){ .result = r };
	bool is_named = sum.completeness.corrupt > 0;
	/* Whoever says that something is missing can say what. */
	CHECK(!is_named || store_unreadable_count(store) > 0);
	*answer = small_hash_sum(match, &sum);
	store_sum_fini(&sum);
	return (struct small_outcome){ .is_named = is_named };
}

static int small_count_batch(
        void *owner, const struct store_stream *stream, const struct batch *batch)
{
	struct small_answers *answers = owner;
	(void)stream;
	answers->batches++;
	answers->samples += batch_samples(batch);
	return 0;
}

struct small_listing {
	uint64_t hash;
	bool is_corrupt;
};

static int small_add_unit(void *owner, const struct store_inventory_unit *unit)
{
	struct small_listing *listing = owner;
	listing->is_corrupt |= unit->is_corrupt;
	uint64_t words[] = { unit->window.level, unit->window.number, unit->window.from_ns,
		unit->window.to_ns, unit->unit, unit->is_open, unit->class, unit->rows,
		unit->batches, unit->parts, unit->hidden };
	listing->hash = small_mix(listing->hash, words, sizeof(words));
	listing->hash = small_mix_text(listing->hash, unit->service);
	return 0;
}

static int small_add_run(void *owner, const struct store_run_state *state)
{
	uint64_t words[] = { state->run.id, state->run.erase_ns, state->is_erasing,
		state->hidden.rows };
	*(uint64_t *)owner = small_mix(*(uint64_t *)owner, words, sizeof(words));
	return 0;
}

static int small_add_record(void *owner, uint64_t seq, const struct audit_record *record)
{
	struct small_listing *listing = owner;
	listing->is_corrupt |= !record;
	listing->hash = record ? small_mix(listing->hash, &record->hash, sizeof(record->hash))
	                       : small_mix(listing->hash, &seq, sizeof(seq));
	return 0;
}

static int small_see_agent(void *owner, const struct store_agent *agent)
{
	bool *is_true = owner;
	*is_true = *is_true && strcmp(agent->host, "host") == 0;
	return 0;
}

static struct small_outcome small_ask_admin(struct store *store, uint64_t *answer)
{
	struct small_listing listing = { .hash = 0 };
	AUTO_BUF text = { 0 };
	int r = store_document_get(store, "policies", &text);
	r = r < 0 ? r : store_document_get(store, "holds", &text);
	/* That there is none is an answer: without holds, what is held would go. */
	bool is_missing = r == -ENOENT;
	listing.hash = small_mix(is_missing, text.bytes, text.count);
	if (r == 0 || is_missing)
		r = store_audit(store, 1, small_add_record, &listing);
	*answer = listing.hash;
	return (struct small_outcome){ .result = r, .is_named = listing.is_corrupt };
}

/*
 * Agents and symbols come again by themselves: what cannot be read is unknown until then, and
 * nothing else.
 */
static bool small_is_rest_true(struct store *store)
{
	bool is_true = true;
	(void)store_agents(store, small_see_agent, &is_true);
	int none = store_symbols_has(store, "c0ffee");
	int table = store_symbols_has(store, "cafe");
	store_read_lock(store);
	const struct symbols *symbols = store_symbols_find(store, "cafe");
	is_true = is_true && (!symbols || table == 1);
	store_read_unlock(store);
	return is_true && none <= 0 && (table == 1 || table == -1) &&
	       store_symbols_has(store, "beef") == -1;
}

static enum small_verdict small_ask_lists(
        struct store *store, const struct small_answers *expected, struct small_answers *ret)
{
	struct small_listing listing = { .hash = 0 };
	struct store_inventory_options all = { .wants_open = true };
	struct small_outcome outcome = { .result = store_inventory(
		                                 store, all, small_add_unit, &listing) };
	bool is_any_unreadable = store_unreadable_count(store) > 0;
	ret->inventory = listing.hash;
	outcome.is_named = listing.is_corrupt || is_any_unreadable;
	outcome.is_equal = !expected || ret->inventory == expected->inventory;
	enum small_verdict verdict = small_judge(ret, "inventory", SMALL_EXACT, outcome);

	ret->runs = 0;
	outcome = (struct small_outcome){ .result = store_runs(store, small_add_run, &ret->runs) };
	outcome.is_equal = !expected || ret->runs == expected->runs;
	verdict = small_judge(ret, "runs", verdict, outcome);

	outcome = small_ask_admin(store, &ret->admin);
	outcome.is_equal = !expected || ret->admin == expected->admin;
	verdict = small_judge(ret, "documents, audit log", verdict, outcome);

	outcome = (struct small_outcome){ .is_equal = small_is_rest_true(store) };
	return small_judge(ret, "agents, symbols", verdict, outcome);
}

static enum small_verdict small_ask_sums(
        struct store *store, const struct small_answers *expected, struct small_answers *ret)
{
	enum small_verdict verdict = SMALL_EXACT;
	for (size_t i = 0; i < SMALL_QUESTIONS; i++) {
		struct small_outcome outcome = small_ask_sum(
		        store, &small_questions[i], &ret->sums[i]);
		outcome.is_equal = !expected || ret->sums[i] == expected->sums[i];
		verdict = small_judge(ret, "a sum", verdict, outcome);
	}
	return verdict;
}

/* Everything. Without `expected` every answer is right, and `ret` is what to expect. */
static enum small_verdict small_ask(
        struct store *store, const struct small_answers *expected, struct small_answers *ret)
{
	struct quarantine_record records[4];
	struct small_answers again;
	*ret = (struct small_answers){ 0 };
	enum small_verdict verdict = small_ask_sums(store, expected, ret);
	if (verdict == SMALL_NAMED) {
		/* What is in quarantine is passed over, and nothing else is. */
		CHECK(small_ask_sums(store, expected, &again) == verdict);
		assert_memory_equal(again.sums, ret->sums, sizeof(ret->sums));
		uint32_t count = store_take_unreadable(store, records, COUNT_OF(records));
		CHECK(count > 0 && records[0].key[0] && records[0].family[0]);
	}
	struct small_outcome outcome = { .result = store_scan(store, 0, UINT64_MAX, NULL,
		                                 small_count_batch, ret) };
	outcome.is_named = store_unreadable_count(store) > 0;
	outcome.is_equal = !expected ||
	                   (ret->batches == expected->batches && ret->samples == expected->samples);
	verdict = small_judge(ret, "batches", verdict, outcome);
	CHECK_OK(store_counters(store, "", &ret->counters));
	outcome = (struct small_outcome){ .is_equal = true };
	if (expected)
		outcome.is_equal = memcmp(&ret->counters, &expected->counters,
		                           sizeof(ret->counters)) == 0;
	verdict = small_judge(ret, "counters", verdict, outcome);
	enum small_verdict lists = small_ask_lists(store, expected, ret);
	return lists > verdict ? lists : verdict;
}

/* Every kind of work: whatever it says, nothing breaks, and nothing is counted twice. */
static void small_go_on(struct store *store)
{
	struct source source = source_new(store, 1);
	struct store_expired expired;
	source_begin(&source, 200 * SECOND, SECOND);
	struct store_append append = source_section(&source, 3);
	if (store_append(store, &append, 1) == 0)
		CHECK(append.ret_status == WIRE_DUP);
	source_begin(&source, 200 * SECOND, SECOND);
	append = source_section(&source, 100);
	if (store_append(store, &append, 1) == 0)
		CHECK(append.ret_status == WIRE_OK);
	(void)store_seal(store, UINT64_MAX);
	(void)store_roll(store, UINT64_MAX);
	(void)store_erase(store, SMALL_HIDDEN, NULL, &expired);
	(void)store_collect(store);
	source_free(&source);
}
