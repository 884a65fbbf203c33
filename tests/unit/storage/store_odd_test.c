/*
 * Random programs over what no fleet sends but anybody can: intervals of no length, of one
 * nanosecond and of months; times at both ends of 64 bits; windows of a nanosecond and of days;
 * stacks of thousands of frames, and of none; label sets of sixty, empty values, names that are no
 * text; coverage of 0. Whatever is asked, of ranges that begin and end within a nanosecond of
 * something, is what a list of all rows adds up to.
 *
 * Nothing is removed here, so that every answer is exact. What goes is store_oracle_test.c's.
 */

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "core/rng.h"
#include "storage/store_verify.h"
#include "tests/unit/storage/store_fixture.h"
#include "tests/unit/storage/store_sides.h"
#include "tests/unit/storage/store_steps.h"

#define SEEDS        6
#define STEPS        220
#define SERIES       14
#define STACKS       48
#define FRAMES       40
#define DEPTH_MAX    3000
#define ROWS_MAX     8192
#define SECTIONS_MAX 512
#define HOUR         (3600 * SECOND)
#define TIME_MAX     (UINT64_MAX - 1000 * 24 * HOUR) /* so that an interval ends in time */
#define ODD_NAME     "a \"name\"\n\xff"

struct odd_row {
	uint64_t start_ns;
	uint32_t series;
	uint32_t stack; /* STACKS: it is coverage */
	uint64_t value;
};

struct odd {
	struct rng rng;
	const char *path;
	struct clock_virtual clock;
	struct store *store;
	struct source source;
	uint64_t base_ns, window_ns;
	uint64_t roll_ns[2];
	uint32_t series[SERIES];
	uint32_t stacks[STACKS];
	struct odd_row rows[ROWS_MAX];
	size_t rows_count;
	uint64_t starts_ns[SECTIONS_MAX];
	uint64_t sections;
	uint32_t answers;
};

static uint64_t below(struct odd *odd, uint64_t bound)
{
	return rng_below(&odd->rng, bound);
}

/* ---- names ---- */

static uint32_t odd_labels(struct odd *odd, uint32_t i, struct label labels[DICT_LABELS_MAX])
{
	struct source *source = &odd->source;
	char text[32];
	uint32_t count = 0;
	snprintf(text, sizeof(text), "s%u", i);
	labels[count++] = (struct label){ source_string(source, "0"), source_string(source, text) };
	if (i > 0)
		labels[count++] = (struct label){ source_string(source, "service"),
			source_string(source, i < 4   ? ""
			                      : i < 8 ? "a"
			                              : "b\tc") };
	snprintf(text, sizeof(text), "i%u", (uint32_t)below(odd, 6));
	if (i != 1)
		labels[count++] = (struct label){ source_string(source, "instance"),
			source_string(source, i == 3 ? "" : text) };
	if (i % 2)
		labels[count++] = (struct label){ source_string(source, "half"),
			source_string(source, "x") };
	if (i % 3 == 0)
		labels[count++] = (struct label){ source_string(source, "version"),
			source_string(source, i % 2 ? "1" : "2") };
	if (i % 4 == 0)
		labels[count++] = (struct label){ source_string(source, ODD_NAME),
			source_string(source, "\x01\xfe") };
	for (uint32_t more = 0; i == 7 && more < 55; more++) {
		snprintf(text, sizeof(text), "l%u", more);
		labels[count++] = (struct label){ source_string(source, text),
			source_string(source, more % 7 ? text : "") };
	}
	return count;
}

static void odd_name_series(struct odd *odd)
{
	static const uint64_t periods[] = { 1, 7, 10101010, SECOND };
	for (uint32_t i = 0; i < SERIES; i++) {
		struct label labels[DICT_LABELS_MAX];
		struct series series = {
			.type = source_string(&odd->source, i == 5 ? "alloc" : "cpu"),
			.unit = source_string(&odd->source, "nanoseconds"),
			.period = periods[below(odd, COUNT_OF(periods))],
		};
		uint32_t count = odd_labels(odd, i, labels);
		CHECK_OK(dict_series(odd->source.dict, &series, labels, count, &odd->series[i]));
	}
}

/* The first is of no frame at all; some are of one frame that calls itself. */
static void odd_name_stacks(struct odd *odd)
{
	static const uint32_t depths[] = { 1, 2, 3, 5, 50, 1500, DEPTH_MAX };
	static uint32_t stack[DEPTH_MAX];
	uint32_t frames[FRAMES];
	for (uint32_t i = 0; i < FRAMES; i++) {
		char name[16];
		snprintf(name, sizeof(name), "f%u", i);
		struct frame frame = {
			.kind = i % 4 ? FRAME_MANAGED : FRAME_NATIVE,
			.function = source_string(&odd->source, i % 8 ? name : ""),
			.address = (uint64_t)i << 58,
			.line = i % 5 ? -(int64_t)i : INT64_MIN,
		};
		CHECK_OK(dict_frame(odd->source.dict, &frame, &frames[i]));
	}
	odd->stacks[0] = DICT_NODE_ROOT;
	for (uint32_t i = 1; i < STACKS; i++) {
		uint32_t depth = depths[below(odd, i % 16 ? 5 : COUNT_OF(depths))];
		for (uint32_t j = 0; j < depth; j++)
			stack[j] = frames[below(odd, 3) ? below(odd, FRAMES) : 7];
		CHECK_OK(dict_stack(odd->source.dict, stack, depth, &odd->stacks[i]));
	}
}

/* ---- steps ---- */

static void odd_open(struct odd *odd)
{
	struct store_options options = store_fixture_options(odd->path);
	options.window_ns = odd->window_ns;
	options.roll_ns[0] = odd->roll_ns[0];
	options.roll_ns[1] = odd->roll_ns[1];
	options.clock = &odd->clock.clock;
	options.seal_rows_max = below(odd, 2) ? 0 : 17;
	options.roll_stacks_max = below(odd, 2) ? 0 : 10;
	options.head_bytes_max = below(odd, 3) ? 0 : 3000;
	options.head_sums_min = 1;
	options.write_buffers_bytes = 1 << 20;
	odd->store = store_fixture_open_with(options);
}

/* A moment at which something begins or ends, or within a nanosecond of it. */
static uint64_t odd_moment(struct odd *odd)
{
	const uint64_t lengths_ns[] = { odd->window_ns, odd->roll_ns[0], odd->roll_ns[1] };
	uint64_t length_ns = lengths_ns[below(odd, COUNT_OF(lengths_ns))];
	uint64_t dice = below(odd, 8);
	if (dice == 0)
		return 0;
	if (dice == 1)
		return UINT64_MAX;
	uint64_t at_ns = odd->base_ns + below(odd, 40) * odd->window_ns;
	at_ns -= at_ns % length_ns;
	if (dice < 5 && odd->sections > 0)
		at_ns = odd->starts_ns[below(odd, odd->sections)];
	return at_ns > 0 ? at_ns - 1 + below(odd, 3) : below(odd, 2);
}

static void odd_put(struct odd *odd, uint32_t series, uint32_t stack, uint64_t value)
{
	struct batch *batch = odd->source.batch;
	if (stack == STACKS)
		CHECK_OK(batch_add_coverage(batch, odd->series[series], value));
	else
		CHECK_OK(batch_add_row(batch, odd->series[series], odd->stacks[stack], value));
	odd->rows[odd->rows_count++] = (struct odd_row){ batch->start_ns, series, stack, value };
}

static void odd_append(struct odd *odd)
{
	const uint64_t durations_ns[] = { 0, 1, 10 * SECOND, 3 * HOUR, 100 * 24 * HOUR,
		odd->window_ns };
	uint64_t start_ns = odd_moment(odd);
	if (start_ns > TIME_MAX || odd->sections == SECTIONS_MAX || odd->rows_count + 32 > ROWS_MAX)
		return;
	source_begin(&odd->source, start_ns, durations_ns[below(odd, COUNT_OF(durations_ns))]);
	odd->source.stream.epoch = 1 + below(odd, 3);
	odd->source.stream.shard = (uint16_t)below(odd, 2);
	for (uint64_t rows = below(odd, 20); rows > 0; rows--)
		odd_put(odd, (uint32_t)below(odd, SERIES), (uint32_t)below(odd, STACKS),
		        UINT64_C(1) << below(odd, below(odd, 4) ? 2 : 28));
	for (uint64_t rows = below(odd, 5); rows > 0; rows--)
		odd_put(odd, (uint32_t)below(odd, SERIES), STACKS,
		        below(odd, 3) ? below(odd, 100 * SECOND) : 0);
	odd->starts_ns[odd->sections++] = start_ns;
	assert_int_equal(source_append(&odd->source, odd->store, odd->sections), WIRE_OK);
	assert_int_equal(source_append(&odd->source, odd->store, odd->sections), WIRE_DUP);
}

static void odd_restart(struct odd *odd)
{
	store_free(odd->store);
	if (below(odd, 4) == 0)
		odd->window_ns = 1 + below(odd, HOUR);
	odd_open(odd);
}

/* ---- questions ---- */

/* How series are told apart: all are one, by a label that some have, each is one. */
enum grouping { BY_NOTHING, BY_LABEL, BY_SERIES, GROUPINGS };

struct odd_question {
	uint64_t from_ns, to_ns;
	uint32_t wanted;         /* series, as bits */
	uint32_t groups[SERIES]; /* below SERIES */
};

struct odd_answer {
	uint64_t value[SERIES][STACKS]; /* by group */
	uint64_t coverage_ns[SERIES];   /* by series */
	uint64_t all, samples;
	uint32_t met; /* series, as bits */
	bool is_past; /* 64 bits */
};

static const char *const selectors[] = { "{}", "cpu", "alloc", "{service=\"a\"}",
	"{service!=\"a\"}", "{service=\"\"}", "{half=\"x\"}", "{half=~\".*\"}", "{half!~\".+\"}",
	"{\"a \\\"name\\\"\\n\xff\"!=\"\"}", "{\"0\"=~\"s[0-9]\"}", "{\"0\"=~\"s1|s13\"}",
	"{l3=\"l3\"}", "{l7=\"\"}", "{none=~\"^$\"}", "{\"0\"=~\"nothing\"}", "{service=\"b\\tc\"}",
	"cpu{instance=~\"i[0-3]|\"}" };

static void odd_choose(struct odd *odd, const struct selector *selector, struct odd_question *to)
{
	static const char *const labels[] = { "service", "half", "version", ODD_NAME, "instance" };
	const struct dict *dict = odd->source.dict;
	const char *label = labels[below(odd, COUNT_OF(labels))];
	uint32_t name = dict_find_string(dict, label, strlen(label));
	enum grouping by = (enum grouping)below(odd, GROUPINGS);
	to->from_ns = odd_moment(odd);
	to->to_ns = odd_moment(odd);
	if (to->from_ns > to->to_ns && below(odd, 8)) {
		uint64_t from_ns = to->to_ns;
		to->to_ns = to->from_ns;
		to->from_ns = from_ns;
	}
	for (uint32_t i = 0; i < SERIES; i++) {
		uint32_t first = 0; /* of those that have the same value */
		while (dict_label_value(dict, odd->series[first], name) !=
		        dict_label_value(dict, odd->series[i], name))
			first++;
		to->groups[i] = by == BY_SERIES ? i : by == BY_LABEL ? first : 0;
		to->wanted |= (uint32_t)selector_matches(selector, dict, odd->series[i]) << i;
	}
}

static void odd_expect(
        const struct odd *odd, const struct odd_question *question, struct odd_answer *to)
{
	for (size_t i = 0; i < odd->rows_count; i++) {
		const struct odd_row *row = &odd->rows[i];
		if (row->start_ns < question->from_ns || row->start_ns >= question->to_ns ||
		        !(question->wanted >> row->series & 1))
			continue;
		to->met |= 1u << row->series;
		if (row->stack == STACKS) {
			to->coverage_ns[row->series] += row->value;
			continue;
		}
		/* Small enough by themselves. */
		uint64_t value =
		        row->value *
		        dict_get_series(odd->source.dict, odd->series[row->series])->period;
		to->value[question->groups[row->series]][row->stack] += value;
		to->samples += row->value;
		to->is_past |= __builtin_add_overflow(to->all, value, &to->all);
	}
}

static uint32_t odd_find_series(const struct odd *odd, const struct dict *dict, uint32_t series)
{
	struct hash128 hash = dict_series_hash(dict, series);
	for (uint32_t i = 0; i < SERIES; i++)
		if (hash128_equal(dict_series_hash(odd->source.dict, odd->series[i]), hash))
			return i;
	fail_msg("a series that nobody sent");
	return 0;
}

/* The first of those that are alike: short stacks may be. */
static uint32_t odd_find_stack(const struct odd *odd, const struct dict *dict, uint32_t node)
{
	struct hash128 hash = dict_node_hash(dict, node);
	for (uint32_t i = 0; i < STACKS; i++)
		if (hash128_equal(dict_node_hash(odd->source.dict, odd->stacks[i]), hash))
			return i;
	fail_msg("a stack that nobody sent");
	return 0;
}

static void odd_read(const struct odd *odd, const struct store_match *match,
        const struct store_sum *sum, struct odd_answer *to)
{
	to->all = sum->completeness.value;
	to->samples = sum->completeness.samples;
	for (uint32_t part = 0; part < sum->parts_count; part++) {
		const struct store_match_part *of = &match->parts[part];
		for (uint32_t i = 0; i < sum->parts[part].rows_count; i++) {
			const struct store_sum_row *row = &sum->parts[part].rows[i];
			to->value[row->group][odd_find_stack(odd, of->dict, row->node)] +=
			        row->value;
		}
		for (uint32_t i = 0; i < sum->parts[part].runs_count; i++) {
			const struct store_sum_run *run = &sum->parts[part].runs[i];
			for (uint32_t j = 0; j < run->count; j++)
				to->value[sum->parts[part].runs_group][odd_find_stack(
				        odd, of->dict, run->nodes[j])] += run->values[j];
		}
		for (uint32_t i = 0; i < of->series_count; i++)
			to->coverage_ns[odd_find_series(odd, of->dict, of->series[i])] +=
			        sum->coverage_ns[of->first + i];
	}
}

/* Values of stacks that are alike are with the first of them. */
static void odd_join_alike(const struct odd *odd, struct odd_answer *answer)
{
	for (uint32_t stack = 0; stack < STACKS; stack++) {
		uint32_t first = odd_find_stack(odd, odd->source.dict, odd->stacks[stack]);
		for (uint32_t group = 0; group < SERIES && first != stack; group++) {
			answer->value[group][first] += answer->value[group][stack];
			answer->value[group][stack] = 0;
		}
	}
}

static void odd_compare(struct odd *odd, const struct odd_question *question,
        const struct store_match *match, const struct store_sum *sum)
{
	static struct odd_answer expected;
	static struct odd_answer answer;
	uint64_t coverage_ns = 0;
	memset(&expected, 0, sizeof(expected));
	memset(&answer, 0, sizeof(answer));
	odd_expect(odd, question, &expected);
	odd_join_alike(odd, &expected);
	odd_read(odd, match, sum, &answer);
	CHECK(!expected.is_past);
	assert_int_equal(sum->completeness.series, __builtin_popcount(expected.met));
	for (uint32_t i = 0; i < SERIES; i++)
		coverage_ns += expected.coverage_ns[i];
	assert_int_equal(sum->completeness.coverage_ns, coverage_ns);
	answer.met = expected.met;
	assert_memory_equal(&answer, &expected, sizeof(answer));
	odd->answers++;
}

/* Steps and sides of it say what sums of them say. */
static void odd_ask_more(struct odd *odd, struct store_sum_options options)
{
	struct store_sum_options sides[STORE_SUM_SIDES_MAX] = { options, options };
	sides[1].to_ns = odd_moment(odd);
	if (options.from_ns < options.to_ns && below(odd, 4) == 0)
		store_steps_check(odd->store, &odd->rng, options);
	if (sides[1].to_ns <= options.to_ns && below(odd, 4) == 0)
		store_sides_check(odd->store, sides);
}

static void odd_ask(struct odd *odd)
{
	struct odd_question question = { 0 };
	AUTO(selector) selector = NULL;
	AUTO(store_match) match = NULL;
	char error[256];
	struct store_sum sum;
	CHECK_OK(selector_parse(
	        selectors[below(odd, COUNT_OF(selectors))], &selector, error, sizeof(error)));
	odd_choose(odd, selector, &question);
	CHECK_OK(store_find_series(odd->store, selector, question.from_ns, question.to_ns, &match));
	autofree uint32_t *groups = calloc((size_t)match->series_count + 1, sizeof(*groups));
	assert_non_null(groups);
	for (uint32_t part = 0; part < match->parts_count; part++) {
		const struct store_match_part *of = &match->parts[part];
		for (uint32_t i = 0; i < of->series_count; i++)
			groups[of->first + i] =
			        question.groups[odd_find_series(odd, of->dict, of->series[i])];
	}
	struct store_sum_options options = {
		.from_ns = question.from_ns,
		.to_ns = question.to_ns,
		.match = match,
		.groups = groups,
		.memory_max = 64 << 20,
		.takes_runs = below(odd, 2),
	};
	CHECK_OK(store_sum(odd->store, &options, &sum));
	odd_compare(odd, &question, match, &sum);
	store_sum_fini(&sum);
	options.takes_runs = false;
	odd_ask_more(odd, options);
}

/* ---- programs ---- */

static void odd_step(struct odd *odd)
{
	uint64_t dice = below(odd, 100);
	uint64_t until_ns = below(odd, 3) ? odd_moment(odd) : UINT64_MAX;
	if (dice < 38)
		odd_append(odd);
	else if (dice < 78)
		odd_ask(odd);
	else if (dice < 85)
		CHECK_OK(store_seal(odd->store, until_ns));
	else if (dice < 92)
		CHECK_OK(store_roll(odd->store, until_ns));
	else if (dice < 97)
		store_sum_heads(odd->store);
	else
		odd_restart(odd);
}

static int tell_finding(void *owner, const struct store_finding *finding)
{
	(void)owner;
	if (finding->kind == STORE_FINDING_DAMAGE)
		print_message("%s %s: %s\n", finding->family, finding->key, finding->reason);
	return 0;
}

static void odd_verify(const char *path)
{
	struct store_verify_options options = { .path = path, .found = tell_finding };
	struct store_verify_summary summary;
	char error[512] = "";
	CHECK_OK(store_verify(&options, &summary, error, sizeof(error)));
	assert_int_equal(summary.damaged, 0);
}

static void odd_run(uint64_t seed)
{
	static const uint64_t bases_ns[] = { 0, 1700000000 * SECOND, UINT64_C(1) << 63,
		UINT64_C(0xf000000000000000), 19700 * 24 * HOUR - 1 };
	static const uint64_t windows_ns[] = { 600 * SECOND, 61 * SECOND, SECOND, HOUR, 2 * HOUR, 1,
		72 * HOUR };
	TEST_DIR(dir);
	struct odd *odd = calloc(1, sizeof(*odd));
	assert_non_null(odd);
	print_message("seed %" PRIu64 "\n", seed);
	rng_init(&odd->rng, seed);
	odd->path = dir.path;
	odd->base_ns = bases_ns[seed % COUNT_OF(bases_ns)];
	odd->window_ns = windows_ns[seed % COUNT_OF(windows_ns)];
	odd->roll_ns[0] = below(odd, 2) ? HOUR : 3 * odd->window_ns;
	odd->roll_ns[1] = odd->roll_ns[0] * (below(odd, 2) ? 24 : 3);
	clock_virtual_init(&odd->clock, odd->base_ns + 40 * odd->window_ns);
	odd->source = source_new(NULL, 1);
	odd_name_series(odd);
	odd_name_stacks(odd);
	odd_open(odd);
	for (uint32_t step = 0; step < STEPS; step++)
		odd_step(odd);
	CHECK(odd->sections > 20 && odd->answers > 20);
	store_free(odd->store);
	odd_verify(dir.path);
	source_free(&odd->source);
	free(odd);
}

static void whatever_is_sent_is_added_up_exactly(void **state)
{
	const char *one = getenv("PROFLEET_SEED");
	const char *count = getenv("PROFLEET_SEEDS");
	uint64_t seeds = count ? strtoull(count, NULL, 10) : SEEDS;
	if (one)
		odd_run(strtoull(one, NULL, 10));
	for (uint64_t seed = 1; !one && seed <= seeds; seed++)
		odd_run(seed);
}

int main(void)
{
	/* Many small files and syncs: in memory where there is a file system there. */
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_is_sent_is_added_up_exactly),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
