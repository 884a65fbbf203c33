/*
 * Steps that ask: sums by every selector and grouping, rows, totals; and that no dictionary is left
 * that nothing speaks of, also behind a restart.
 */

#include "tests/unit/storage/oracle_program.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "tests/unit/storage/store_sides.h"
#include "tests/unit/storage/store_steps.h"

/* What is asked for; @ and a number stand for the name of that instance. */
static const char *const selectors[] = {
	"cpu",
	"{}",
	"offcpu",
	"cpu{service=\"service1\"}",
	"cpu{service!=\"service1\"}",
	"cpu{absent=\"\"}",
	"cpu{version=\"v1\"}",
	"cpu{region!=\"r1\",service=~\"service[02]\"}",
	"cpu{service=~\"service[02]\",instance!=\"@1\"}",
	"cpu{instance!~\"@0|@1\"}",
	"cpu{absent!=\"\"}",
	"cpu{service=\"nobody\"}",
	"cpu{service=~\".*\",instance=\"@2\"}",
};

/* How matched series are told apart. */
enum grouping { BY_NOTHING, BY_SERIES, BY_VERSION, BY_REGION, BY_BUCKET, BY_SERVICE, GROUPINGS };

/* ---- questions ---- */

struct scanned {
	struct program *program;
	uint32_t wanted;
	uint64_t last_ns;
	uint64_t batches;
};

static uint32_t model_find_section(struct model *model, const struct store_stream *stream)
{
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX; i++) {
		const struct model_section *section = &model->sections[i];
		if (section->is_there && section->observer == stream->uuid.bytes[0] &&
		        section->epoch == stream->epoch && section->shard == stream->shard &&
		        section->seq == stream->seq)
			return i;
	}
	fail_msg("a batch that nobody appended");
	return 0;
}

/* The batch is exactly what was appended, of the series that were asked for and can be read. */
static int check_batch(void *owner, const struct store_stream *stream, const struct batch *batch)
{
	uint64_t value[MODEL_SERIES][MODEL_FUNCTIONS] = { { 0 } };
	uint64_t coverage_ns[MODEL_SERIES] = { 0 };
	uint64_t lost[MODEL_SERIES] = { 0 };
	uint64_t folded[MODEL_SERIES] = { 0 };
	uint64_t lost_of_none = 0;
	struct scanned *scanned = owner;
	struct model *model = scanned->program->model;
	uint32_t number = model_find_section(model, stream);
	const struct model_section *section = &model->sections[number];
	const struct dict *dict = batch->dict;
	uint32_t wanted = model_readable(model, number) & scanned->wanted;

	assert_int_equal(batch->start_ns, section->start_ns);
	assert_int_equal(batch->duration_ns, section->duration_ns);
	CHECK(batch->start_ns >= scanned->last_ns);
	scanned->last_ns = batch->start_ns;
	for (uint32_t i = 0; i < section->rows_count; i++)
		if (wanted >> section->rows[i].series & 1)
			value[section->rows[i].series][section->rows[i].function] +=
			        section->rows[i].value;
	for (uint32_t i = 0; i < batch->rows_count; i++)
		value[oracle_read_series(dict, batch->rows[i].series)]
		     [oracle_read_node(dict, batch->rows[i].node)] -= batch->rows[i].value;
	for (uint32_t i = 0; i < batch->coverage_count; i++)
		coverage_ns[oracle_read_series(dict, batch->coverage[i].series)] +=
		        batch->coverage[i].ns;
	for (uint32_t i = 0; i < batch->losses_count; i++)
		if (batch->losses[i].series == SERIES_NONE)
			lost_of_none += batch->losses[i].count;
		else if (batch->losses[i].reason == LOSS_FOLDED)
			folded[oracle_read_series(dict, batch->losses[i].series)] +=
			        batch->losses[i].count;
		else
			lost[oracle_read_series(dict, batch->losses[i].series)] +=
			        batch->losses[i].count;
	for (uint32_t s = 0; s < MODEL_SERIES; s++) {
		bool is_wanted = wanted >> s & 1;
		for (uint32_t f = 0; f < MODEL_FUNCTIONS; f++)
			assert_int_equal(value[s][f], 0);
		assert_int_equal(coverage_ns[s], is_wanted ? section->coverage_ns[s] : 0);
		assert_int_equal(lost[s], is_wanted ? section->lost[s] : 0);
		assert_int_equal(folded[s], is_wanted ? model_folded(section, s) : 0);
	}
	assert_int_equal(lost_of_none, section->lost_of_none);
	scanned->batches++;
	return 0;
}

static void program_scan(struct program *program, const struct model_question *question,
        const struct store_match *match)
{
	struct scanned scanned = { .program = program, .wanted = question->wanted };
	uint64_t batches = 0;
	CHECK_OK(store_scan(
	        program->store, question->from_ns, question->to_ns, match, check_batch, &scanned));
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX; i++)
		batches += program->model->sections[i].start_ns >= question->from_ns &&
		           program->model->sections[i].start_ns < question->to_ns &&
		           model_is_scanned(program->model, i);
	assert_int_equal(scanned.batches, batches);
}

static void program_group(struct program *program, struct model_question *question)
{
	enum grouping by = (enum grouping)rng_below(&program->rng, GROUPINGS);
	for (uint32_t s = 0; s < MODEL_SERIES; s++)
		question->groups[s] = by == BY_SERIES    ? s
		                      : by == BY_VERSION ? oracle_version_of(s)
		                      : by == BY_REGION  ? oracle_region_of(s)
		                      : by == BY_BUCKET  ? oracle_bucket_of(s)
		                      : by == BY_SERVICE ? model_service(s)
		                                         : 0;
}

static void program_range(struct program *program, struct model_question *question)
{
	struct rng *rng = &program->rng;
	uint64_t dice = rng_below(rng, 8);
	question->from_ns = program_now(program) - rng_below(rng, 1000) * SECOND;
	question->to_ns = question->from_ns + rng_below(rng, dice < 4 ? 150 : 600) * SECOND;
	if (dice == 0) {
		question->from_ns = 0;
		question->to_ns = UINT64_MAX;
	} else if (dice % 2) {
		/* Of whole windows: the answer comes from sums. */
		question->from_ns -= question->from_ns % (240 * SECOND);
		question->to_ns += 240 * SECOND - question->to_ns % (240 * SECOND);
	}
}

/* The store's answer in the model's words. */
static void program_read(
        const struct store_sum *sum, const struct store_match *match, struct model_answer *answer)
{
	for (uint32_t part = 0; part < sum->parts_count; part++) {
		const struct dict *dict = match->parts[part].dict;
		for (uint32_t i = 0; i < sum->parts[part].rows_count; i++) {
			const struct store_sum_row *row = &sum->parts[part].rows[i];
			CHECK(i == 0 || row[-1].group < row->group ||
			        (row[-1].group == row->group && row[-1].node < row->node));
			answer->value[row->group][oracle_read_node(dict, row->node)] += row->value;
		}
		for (uint32_t i = 0; i < sum->parts[part].runs_count; i++) {
			const struct store_sum_run *run = &sum->parts[part].runs[i];
			for (uint32_t j = 0; j < run->count; j++)
				answer->value[sum->parts[part].runs_group][oracle_read_node(
				        dict, run->nodes[j])] += run->values[j];
		}
		for (uint32_t i = 0; i < match->parts[part].series_count; i++)
			answer->coverage_ns[oracle_read_series(
			        dict, match->parts[part].series[i])] +=
			        sum->coverage_ns[match->parts[part].first + i];
	}
	answer->completeness = sum->completeness;
}

/*
 * What was folded is with its callers instead: never more with a function than it had, all of it
 * with the modules and main, and said.
 */
static void check_folded(
        struct program *program, struct model_answer *answer, struct model_answer *expected)
{
	uint64_t folded = 0;
	for (uint32_t group = 0; group < MODEL_SERIES; group++) {
		uint64_t all = 0;
		uint64_t all_expected = 0;
		for (uint32_t node = 0; node < MODEL_NODES; node++) {
			all += answer->value[group][node];
			all_expected += expected->value[group][node];
			folded += node < MODEL_FUNCTIONS ? 0 : answer->value[group][node];
			CHECK(node >= MODEL_FUNCTIONS ||
			        answer->value[group][node] <= expected->value[group][node]);
		}
		for (uint32_t module = 0; module < MODEL_MODULES; module++) {
			uint64_t had = 0;
			uint64_t has = answer->value[group][MODEL_FUNCTIONS + module];
			for (uint32_t f = module; f < MODEL_FUNCTIONS; f += MODEL_MODULES) {
				had += expected->value[group][f];
				has += answer->value[group][f];
			}
			CHECK(has <= had);
		}
		assert_int_equal(all, all_expected);
	}
	/* What was folded in an hour and again in its day is said once: nobody knows which it is.
	 */
	CHECK(answer->completeness.value_folded <= folded);
	CHECK(answer->completeness.value_folded > 0 || folded == 0);
	CHECK((answer->completeness.samples_folded > 0) == (answer->completeness.value_folded > 0));
	program->reached->folded += folded > 0;
	expected->completeness.value_folded = answer->completeness.value_folded;
	expected->completeness.samples_folded = answer->completeness.samples_folded;
	memcpy(expected->value, answer->value, sizeof(expected->value));
}

/* The model does not know edges, nor what collapses: what is said of them is held to what must be.
 */
static void check_edges(const struct completeness *answer, struct completeness *expected)
{
	/* Of sums that are in the answer, though what they have may all lie behind the range. */
	CHECK(answer->cut_end_ns <= answer->resolution_coarsest_ns);
	CHECK(answer->windows_collapsed == 0 ||
	        answer->collapsed_from_ns < answer->collapsed_to_ns);
	expected->cut_begin_ns = answer->cut_begin_ns;
	expected->cut_end_ns = answer->cut_end_ns;
	expected->windows_collapsed = answer->windows_collapsed;
	expected->collapsed_from_ns = answer->collapsed_from_ns;
	expected->collapsed_to_ns = answer->collapsed_to_ns;
}

static void print_completeness(const char *who, const struct completeness *of)
{
	print_message("%s: value %" PRIu64 " samples %" PRIu64 " lost %" PRIu64 " %" PRIu64
	              " intervals %" PRIu64 " missing %" PRIu64 " coverage %" PRIu64
	              " instances %u series %u observers %u first %" PRIu64 " last %" PRIu64
	              " corrupt %" PRIu64 " unanswerable %" PRIu64 " (%" PRIu64
	              ") resolution %" PRIu64 "..%" PRIu64 "\n",
	        who, of->value, of->samples, of->lost[LOSS_RING_FULL], of->lost[LOSS_PERF_LOST],
	        of->intervals, of->missing_ns, of->coverage_ns, of->instances, of->series,
	        of->observers, of->first_ns, of->last_ns, of->corrupt, of->windows_unanswerable,
	        of->unanswerable_ns, of->resolution_finest_ns, of->resolution_coarsest_ns);
}

/* Both were zeroed, their padding included. */
static bool is_equal(const void *a, const void *b, size_t bytes)
{
	return memcmp(a, b, bytes) == 0;
}

static void program_compare(struct program *program, const struct model_question *question,
        struct model_answer *answer, struct model_answer *expected)
{
	if (program->folds)
		check_folded(program, answer, expected);
	check_edges(&answer->completeness, &expected->completeness);
	if (is_equal(answer, expected, sizeof(*answer)))
		return;
	print_message("of %" PRIx32 " from %" PRIu64 " to %" PRIu64 ", groups of", question->wanted,
	        question->from_ns, question->to_ns);
	for (uint32_t s = 0; s < MODEL_SERIES; s++)
		print_message(" %u", question->groups[s]);
	print_message("\n");
	model_print(program->model);
	for (uint32_t s = 0; s < MODEL_SERIES; s++)
		if (answer->coverage_ns[s] != expected->coverage_ns[s])
			print_message("series %u: store covers %" PRIu64 ", model %" PRIu64 "\n", s,
			        answer->coverage_ns[s], expected->coverage_ns[s]);
	print_completeness("store", &answer->completeness);
	print_completeness("model", &expected->completeness);
	assert_memory_equal(
	        &answer->completeness, &expected->completeness, sizeof(answer->completeness));
	assert_memory_equal(
	        answer->coverage_ns, expected->coverage_ns, sizeof(answer->coverage_ns));
	assert_memory_equal(answer->value, expected->value, sizeof(answer->value));
}

/* In every dictionary the series of it that are wanted. */
static void check_match(struct program *program, const struct model_question *question,
        const struct store_match *match)
{
	for (uint32_t i = 0; i < match->parts_count; i++) {
		const struct store_match_part *part = &match->parts[i];
		uint32_t series = 0;
		for (uint32_t j = 0; j < part->series_count; j++)
			series |= 1u << oracle_read_series(part->dict, part->series[j]);
		uint32_t known = model_known(program->model, part->generation);
		CHECK(!(question->wanted & known & ~series));
		/* A compact one may know of windows that could not move to it after all. */
		CHECK(series == (question->wanted & known) ||
		        part->generation >= MODEL_GENERATION_COMPACT);
	}
}

static void expand(const char *text, char *to, size_t to_bytes)
{
	size_t count = 0;
	for (; *text && count + 32 < to_bytes; text++) {
		if (*text == '@')
			count += (size_t)snprintf(to + count, to_bytes - count, "%s",
			        oracle_instance((uint32_t)(*++text - '0')));
		else
			to[count++] = *text;
	}
	assert_int_equal(*text, 0);
	to[count] = 0;
}

/* The same series of another range as well, which may be in this one or reach into it. */
static void program_query_sides(struct program *program, struct store_sum_options options)
{
	struct store_sum_options sides[STORE_SUM_SIDES_MAX] = { options, options };
	struct model_question other = { 0 };
	program_range(program, &other);
	sides[0].memory_max = sides[1].memory_max = 64 << 20;
	sides[1].from_ns = other.from_ns;
	sides[1].to_ns = other.to_ns;
	store_sides_check(program->store, sides);
}

void program_query(struct program *program)
{
	static struct model_answer expected;
	static struct model_answer answer;
	char text[256];
	expand(selectors[rng_below(&program->rng, COUNT_OF(selectors))], text, sizeof(text));
	struct model_question question = { 0 };
	AUTO(selector) selector = NULL;
	AUTO(store_match) match = NULL;
	char error[256];
	struct store_sum sum;
	program_range(program, &question);
	program_group(program, &question);
	CHECK_OK(selector_parse(text, &selector, error, sizeof(error)));
	for (uint32_t s = 0; s < MODEL_SERIES; s++)
		if (selector_matches(selector, program->all.dict, program->all_series[s]))
			question.wanted |= 1u << s;
	model_ask(program->model, &question, &expected);

	CHECK_OK(store_find_series(
	        program->store, selector, question.from_ns, question.to_ns, &match));
	autofree uint32_t *groups = calloc((size_t)match->series_count + 1, sizeof(*groups));
	check_match(program, &question, match);
	for (uint32_t i = 0; i < match->parts_count; i++)
		for (uint32_t j = 0; j < match->parts[i].series_count; j++)
			groups[match->parts[i].first + j] = question.groups[oracle_read_series(
			        match->parts[i].dict, match->parts[i].series[j])];
	/* Little memory makes it a table, more a vector: the answer is the same. */
	struct store_sum_options options = {
		.from_ns = question.from_ns,
		.to_ns = question.to_ns,
		.match = match,
		.groups = groups,
		.memory_max = rng_below(&program->rng, 2)
		                      ? 64 << 20
		                      : (uint64_t)100000 * (match->parts_count + 1),
		.takes_runs = rng_below(&program->rng, 2),
	};
	int r = store_sum(program->store, &options, &sum);
	if (r < 0) {
		store_read_error(program->store, error, sizeof(error));
		fail_msg("store_sum: %d: %s", r, error);
	}
	memset(&answer, 0, sizeof(answer));
	program_read(&sum, match, &answer);
	store_sum_fini(&sum);
	options.takes_runs = false;
	program_compare(program, &question, &answer, &expected);
	struct reached *reached = program->reached;
	if (answer.completeness.resolution_coarsest_ns > reached->coarsest_ns)
		reached->coarsest_ns = answer.completeness.resolution_coarsest_ns;
	reached->unanswerable += answer.completeness.windows_unanswerable;
	if (rng_below(&program->rng, 4) == 0)
		program_scan(program, &question, match);
	else if (question.from_ns < question.to_ns && rng_below(&program->rng, 8) == 0)
		store_steps_check(program->store, &program->rng, options);
	else if (rng_below(&program->rng, 4) == 0)
		program_query_sides(program, options);
}

/* ---- totals ---- */

void program_check_totals(struct program *program)
{
	struct store_counters expected = program->model->counters;
	struct store_counters counters;
	struct store_size size;
	uint64_t first, last;
	CHECK_OK(store_counters(program->store, "", &counters));
	expected.rows = counters.rows; /* equal keys were added up: not the model's to know */
	assert_memory_equal(&counters, &expected, sizeof(counters));
	CHECK_OK(store_size(program->store, &size));
	model_ends(program->model, &first, &last);
	assert_int_equal(size.first_ns, first);
	assert_int_equal(size.last_ns, last);
	assert_int_equal(size.corrupt, 0);
}

/* No dictionary but the newest is left that nothing speaks of. */
void program_collect(struct program *program)
{
	struct model *model = program->model;
	enum failure failure = program_may_fail(program, 300);
	static bool speaks[MODEL_GENERATIONS_MAX];
	struct store_size size;
	uint64_t count = 0;
	int r;
	do {
		r = store_collect(program->store);
	} while (program_must_again(program, r, failure));
	program_mend(program, failure);
	CHECK_OK(store_size(program->store, &size));
	if (size.generations > program->reached->generations)
		program->reached->generations = size.generations;
	if (r < 0)
		return;
	memset(speaks, 0, sizeof(speaks));
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX; i++)
		if (model->sections[i].is_there && model->sections[i].is_open)
			speaks[model_place(model->sections[i].generation)] = true;
	for (uint32_t i = 0; i < model->windows_count; i++)
		speaks[model_place(model->windows[i]->generation)] = true;
	for (uint32_t i = 0; i < MODEL_GENERATIONS_MAX / 2; i++)
		count += speaks[i];
	uint64_t generations = size.generations - size.generations_compact;
	CHECK(generations == count || generations == count + 1);
}

void program_restart(struct program *program)
{
	program_note_heads(program);
	store_free(program->store);
	if (rng_below(&program->rng, 8) == 0)
		program_verify(program);
	program_open(program);
	program_check_windows(program);
}
