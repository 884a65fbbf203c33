/*
 * Random programs against a model that is written for clarity: a plain list of sections, of which
 * every answer is computed by going over all of them. The store has to agree exactly after every
 * step: what it says of each section that it is given, every value per series and function, and
 * every number of the completeness; over groups with duplicates, groups that fail for want of
 * memory or disk, windows sealed while some of theirs still come, deletions, flushes and restarts
 * with other windows.
 *
 * A failure prints its seed; PROFLEET_SEED=N runs that one alone. PROFLEET_STEPS=10000 makes
 * programs long: about ten minutes for all seeds.
 */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/rng.h"
#include "storage/store_expire.h"
#include "tests/lib/fault.h"
#include "tests/unit/storage/store_fixture.h"
#include "tests/unit/storage/store_steps.h"

#define SEEDS        50
#define STEPS        300
#define WORKERS      2
#define LIVE_MAX     160 /* sections; then everything is deleted, and the model forgets as well */
#define THIN_STEPS   80
#define SECTIONS_MAX 4096
#define ROWS_MAX     12
#define SERVICES     4
#define INSTANCES    3
#define PERIODS      2
#define SERIES       (SERVICES * INSTANCES * PERIODS)
#define FUNCTIONS    40
#define OBSERVERS    3
#define EPOCHS       2
#define SHARDS       2
#define GROUP_MAX    5
#define HORIZON      400 /* seconds that starts fall into */

static uint64_t generations_max; /* of the dictionary at the same time, over all seeds */

static const uint64_t periods[PERIODS] = { 1, 20408163 };

/* The first of them need no label that sums lack. */
#define SELECTORS_OF_SUMS 6

static const char *const selectors[] = {
	"cpu",
	"{}",
	"offcpu",
	"cpu{service=\"service1\"}",
	"cpu{service!=\"service1\"}",
	"cpu{absent=\"\"}",
	"cpu{service=~\"service[02]\",instance!=\"instance1\"}",
	"cpu{instance!~\"instance[01]\"}",
	"cpu{absent!=\"\"}",
	"cpu{service=\"nobody\"}",
	"cpu{service=~\".*\",instance=\"instance2\"}",
};

struct model_row {
	uint32_t series;
	uint32_t function;
	uint64_t value;
};

struct section {
	uint32_t observer, epoch, shard;
	uint64_t seq;
	uint64_t start_ns, duration_ns;
	struct model_row rows[ROWS_MAX];
	uint32_t rows_count;
	uint64_t coverage_ns[SERIES];
	uint64_t lost[SERIES]; /* by LOSS_RING_FULL */
	uint64_t lost_of_none; /* by LOSS_PERF_LOST */
	bool is_kept;          /* was acknowledged: sent again it is a DUP */
	bool is_deleted;
};

struct model {
	struct section sections[SECTIONS_MAX];
	uint32_t count;
	uint64_t next_seq[OBSERVERS][EPOCHS][SHARDS];
	uint64_t duplicates;
	struct store_counters past; /* of sections that were forgotten */
	struct dict *dict;          /* all series there can be, for selectors */
	uint32_t series[SERIES];
};

struct program {
	struct rng rng;
	struct rng steps_rng; /* of how ranges are cut into steps */
	uint64_t queries;
	struct test_dir *dir;
	struct store *store;
	struct source sources[GROUP_MAX];
	struct model *model;
	bool is_disk_hurt;    /* some write since the last append met a full disk */
	uint64_t windows_max; /* sealed at the same time */
	uint64_t generations_max;
	struct clock_virtual clock;
	uint64_t rollups_max;
	uint64_t coarsest_ns; /* that an answer came from */
	bool is_thin;         /* finer levels are gone in places */
	uint64_t runs;
	uint64_t dropped[2]; /* windows: of level 0, hours */
};

/* ---- the model ---- */

static struct section *model_new_section(struct model *model, struct rng *rng)
{
	struct section *section = &model->sections[model->count++];
	assert_true(model->count < SECTIONS_MAX);
	*section = (struct section){
		.observer = (uint32_t)rng_below(rng, OBSERVERS),
		.epoch = (uint32_t)rng_below(rng, EPOCHS),
		.shard = (uint32_t)rng_below(rng, SHARDS),
		/* Mostly every ten seconds, sometimes late, so that there are gaps of every kind.
		 */
		.start_ns = rng_below(rng, HORIZON / 10) * 10 * SECOND +
		            rng_below(rng, 3) * 40000000,
		.duration_ns = 10 * SECOND,
	};
	section->seq = ++model->next_seq[section->observer][section->epoch][section->shard];
	/* Some are skipped and stay gaps for ever. */
	if (rng_below(rng, 6) == 0)
		model->next_seq[section->observer][section->epoch][section->shard] += 3;

	section->rows_count = (uint32_t)rng_below(rng, ROWS_MAX + 1);
	for (uint32_t i = 0; i < section->rows_count; i++)
		section->rows[i] = (struct model_row){
			.series = (uint32_t)rng_below(rng, SERIES),
			.function = (uint32_t)rng_below(rng, FUNCTIONS),
			.value = 1 + rng_below(rng, 1000),
		};
	for (uint64_t i = rng_below(rng, 4); i > 0; i--)
		section->coverage_ns[rng_below(rng, SERIES)] += 1 + rng_below(rng, 10 * SECOND);
	for (uint64_t i = rng_below(rng, 3); i > 0; i--)
		section->lost[rng_below(rng, SERIES)] += 1 + rng_below(rng, 9);
	if (rng_below(rng, 5) == 0)
		section->lost_of_none = 1 + rng_below(rng, 9);
	return section;
}

/* What the store should say. */
struct expected {
	uint64_t value[SERIES][FUNCTIONS]; /* in units */
	uint64_t coverage_ns[SERIES];
	struct completeness completeness;
};

static bool section_is_in(const struct section *section, uint64_t from_ns, uint64_t to_ns)
{
	return section->is_kept && !section->is_deleted && section->start_ns >= from_ns &&
	       section->start_ns < to_ns;
}

static int compare_starts(const void *a, const void *b)
{
	uint64_t x = (*(const struct section *const *)a)->start_ns;
	uint64_t y = (*(const struct section *const *)b)->start_ns;
	return x < y ? -1 : x > y;
}

/* Gaps, intervals and nobody's losses of one observer, if he has anything of the series. */
static void expect_observer(struct model *model, uint32_t observer, const bool *wanted,
        uint64_t from_ns, uint64_t to_ns, struct completeness *to)
{
	static const struct section *own[SECTIONS_MAX];
	uint32_t count = 0;
	bool matched = false;
	for (uint32_t i = 0; i < model->count; i++) {
		const struct section *section = &model->sections[i];
		if (section->observer != observer || !section_is_in(section, from_ns, to_ns))
			continue;
		own[count++] = section;
		for (uint32_t j = 0; j < section->rows_count; j++)
			matched |= wanted[section->rows[j].series];
		for (uint32_t s = 0; s < SERIES; s++)
			matched |= wanted[s] && (section->coverage_ns[s] || section->lost[s]);
	}
	if (!matched)
		return;

	qsort(own, count, sizeof(const struct section *), compare_starts);
	uint64_t covered_until = own[0]->start_ns;
	if (to->observers == 0 || own[0]->start_ns < to->first_ns)
		to->first_ns = own[0]->start_ns;
	to->observers++;
	to->intervals += count;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t end = own[i]->start_ns + own[i]->duration_ns;
		if (own[i]->start_ns > covered_until + 50000000)
			to->missing_ns += own[i]->start_ns - covered_until;
		if (end > covered_until)
			covered_until = end;
		to->lost[LOSS_PERF_LOST] += own[i]->lost_of_none;
	}
	if (covered_until > to->last_ns)
		to->last_ns = covered_until;
}

static void model_expect(struct model *model, const struct selector *selector, uint64_t from_ns,
        uint64_t to_ns, struct expected *expected)
{
	bool wanted[SERIES];
	bool met[SERIES] = { false };
	bool instance_met[SERVICES * INSTANCES] = { false };
	struct completeness *to = &expected->completeness;

	memset(expected, 0, sizeof(*expected));
	for (uint32_t s = 0; s < SERIES; s++)
		wanted[s] = selector_matches(selector, model->dict, model->series[s]);
	for (uint32_t i = 0; i < model->count; i++) {
		const struct section *section = &model->sections[i];
		if (!section_is_in(section, from_ns, to_ns))
			continue;
		for (uint32_t j = 0; j < section->rows_count; j++) {
			const struct model_row *row = &section->rows[j];
			if (!wanted[row->series])
				continue;
			uint64_t in_unit = row->value * periods[row->series % PERIODS];
			expected->value[row->series][row->function] += in_unit;
			to->value += in_unit;
			to->samples += row->value;
			met[row->series] = true;
		}
		for (uint32_t s = 0; s < SERIES; s++) {
			if (!wanted[s])
				continue;
			expected->coverage_ns[s] += section->coverage_ns[s];
			to->coverage_ns += section->coverage_ns[s];
			met[s] |= section->coverage_ns[s] > 0;
			to->lost[LOSS_RING_FULL] += section->lost[s];
		}
	}
	for (uint32_t s = 0; s < SERIES; s++) {
		uint64_t period = periods[s % PERIODS];
		if (!met[s])
			continue;
		to->series++;
		instance_met[s / PERIODS % INSTANCES] = true;
		if (to->period_min == 0 || period < to->period_min)
			to->period_min = period;
		if (period > to->period_max)
			to->period_max = period;
	}
	for (uint32_t i = 0; i < INSTANCES; i++)
		to->instances += instance_met[i];
	for (uint32_t observer = 0; observer < OBSERVERS; observer++)
		expect_observer(model, observer, wanted, from_ns, to_ns, to);
}

/* ---- the store ---- */

static uint32_t make_series(struct source *source, uint32_t series)
{
	char service[32];
	char instance[32];
	snprintf(service, sizeof(service), "service%u", series / PERIODS / INSTANCES);
	snprintf(instance, sizeof(instance), "instance%u", series / PERIODS % INSTANCES);
	return source_series(source, service, instance, periods[series % PERIODS]);
}

/* Which series of the model one of the store is, by its labels. */
static uint32_t read_series(const struct dict *dict, uint32_t id)
{
	const struct series *series = dict_get_series(dict, id);
	const char *service = dict_text(
	        dict, dict_label_value(dict, id, dict_find_string(dict, "service", 7)));
	const char *instance = dict_text(
	        dict, dict_label_value(dict, id, dict_find_string(dict, "instance", 8)));
	uint32_t number = ((uint32_t)(service[7] - '0') * INSTANCES +
	                          (uint32_t)(instance[8] - '0')) *
	                          PERIODS +
	                  (series->period == periods[1]);
	assert_true(number < SERIES);
	return number;
}

static uint32_t read_function(const struct dict *dict, uint32_t node)
{
	const struct frame *frame = dict_get_frame(dict, dict_get_node(dict, node).frame);
	return (uint32_t)strtoul(dict_text(dict, frame->function) + 1, NULL, 10);
}

static void program_open(struct program *program)
{
	/* Windows of several lengths overlap; few rows at once make rounds and parts. */
	static const uint64_t windows_s[] = { 60, 60, 60, 20, 130 };
	struct store_options options = store_fixture_options(program->dir->path);
	options.write_buffers_bytes = 1 << 20; /* the log is made as long at once */
	options.window_ns = windows_s[rng_below(&program->rng, COUNT_OF(windows_s))] * SECOND;
	options.seal_rows_max = rng_below(&program->rng, 2) ? 30 : 0;
	/* Some live through many generations of the dictionary, by size or by age. */
	options.generation_nodes = rng_below(&program->rng, 2) ? 20 : 0;
	options.generation_ns = 100 * SECOND;
	options.late_max_ns = UINT64_MAX / 2; /* what was sent comes again however old it is */
	options.clock = &program->clock.clock;
	static const uint64_t rolls_s[][2] = { { 120, 240 }, { 60, 180 }, { 130, 390 } };
	size_t rolls = rng_below(&program->rng, COUNT_OF(rolls_s));
	options.roll_ns[0] = rolls_s[rolls][0] * SECOND;
	options.roll_ns[1] = rolls_s[rolls][1] * SECOND;
	options.roll_stacks_max = rng_below(&program->rng, 2) ? 20 : 0;
	program->store = store_fixture_open_with(options);
	for (uint32_t i = 0; i < GROUP_MAX; i++)
		if (!program->sources[i].dict)
			program->sources[i] = source_new(program->store, 0);
}

static struct store_append program_section(
        struct program *program, uint32_t index, const struct section *section)
{
	struct source *source = &program->sources[index];
	source_begin(source, section->start_ns, section->duration_ns);
	for (uint32_t i = 0; i < section->rows_count; i++) {
		char function[16];
		const struct model_row *row = &section->rows[i];
		snprintf(function, sizeof(function), "f%u", row->function);
		CHECK_OK(batch_add_row(source->batch, make_series(source, row->series),
		        source_stack(source, function), row->value));
	}
	for (uint32_t s = 0; s < SERIES; s++) {
		if (section->coverage_ns[s])
			CHECK_OK(batch_add_coverage(
			        source->batch, make_series(source, s), section->coverage_ns[s]));
		if (section->lost[s])
			CHECK_OK(batch_add_loss(source->batch, make_series(source, s),
			        LOSS_RING_FULL, section->lost[s]));
	}
	if (section->lost_of_none)
		CHECK_OK(batch_add_loss(
		        source->batch, SERIES_NONE, LOSS_PERF_LOST, section->lost_of_none));
	source->stream.uuid.bytes[0] = (uint8_t)section->observer;
	source->stream.epoch = section->epoch;
	source->stream.shard = (uint16_t)section->shard;
	return source_section(source, section->seq);
}

static void limit_files(rlim_t bytes)
{
	struct rlimit limit;
	CHECK_OK(getrlimit(RLIMIT_FSIZE, &limit));
	limit.rlim_cur = bytes;
	CHECK_OK(setrlimit(RLIMIT_FSIZE, &limit));
}

enum failure { FAIL_NOT, FAIL_MEMORY, FAIL_DISK };

static void program_append(struct program *program, enum failure failure)
{
	struct model *model = program->model;
	struct store_append appends[GROUP_MAX];
	struct section *sections[GROUP_MAX];
	uint32_t count = 1 + (uint32_t)rng_below(&program->rng, GROUP_MAX);

	for (uint32_t i = 0; i < count; i++) {
		/* One in three was sent before, kept or refused; of these some in this very group.
		 */
		if (model->count > 0 && rng_below(&program->rng, 3) == 0)
			sections[i] = &model->sections[rng_below(&program->rng, model->count)];
		else
			sections[i] = model_new_section(model, &program->rng);
		appends[i] = program_section(program, i, sections[i]);
	}

	if (failure == FAIL_MEMORY)
		fault_arm(FAULT_ALLOC, (uint32_t)rng_below(&program->rng, 200), ENOMEM);
	if (failure == FAIL_DISK)
		limit_files(0);
	int r = store_append(program->store, appends, count);
	if (failure == FAIL_MEMORY)
		(void)fault_disarm();
	if (failure == FAIL_DISK)
		limit_files(RLIM_INFINITY);

	/* What RocksDB wrote by itself while there was no disk shows with the next write, once. */
	if (r < 0 && failure == FAIL_NOT && program->is_disk_hurt)
		r = store_append(program->store, appends, count);
	program->is_disk_hurt = failure == FAIL_DISK;
	if (r < 0) {
		if (failure == FAIL_NOT)
			fail_msg("%d: %s", r, store_error(program->store));
		return;
	}
	for (uint32_t i = 0; i < count; i++) {
		assert_int_equal(appends[i].ret_status, sections[i]->is_kept ? WIRE_DUP : WIRE_OK);
		model->duplicates += sections[i]->is_kept;
		sections[i]->is_kept = true;
	}
}

static void program_delete(struct program *program)
{
	struct model *model = program->model;
	uint64_t from = rng_below(&program->rng, HORIZON) * SECOND;
	uint64_t to = from + rng_below(&program->rng, HORIZON / 8) * SECOND;
	uint64_t batches;
	uint64_t expected = 0;

	for (uint32_t i = 0; i < model->count; i++) {
		struct section *section = &model->sections[i];
		if (!section_is_in(section, from, to))
			continue;
		section->is_deleted = true;
		expected++;
	}
	CHECK_OK(store_delete_range(program->store, from, to, &batches));
	assert_int_equal(batches, expected);
}

/* Seals or rolls up to some moment; sometimes with little memory or no disk. */
static struct store_size program_compact(
        struct program *program, int (*compact)(struct store *store, uint64_t until_ns))
{
	uint64_t until = rng_below(&program->rng, 2) ? rng_below(&program->rng, HORIZON) * SECOND
	                                             : UINT64_MAX;
	enum failure failure = FAIL_NOT;
	uint64_t dice = rng_below(&program->rng, 10);
	if (dice < 2)
		failure = dice == 0 ? FAIL_MEMORY : FAIL_DISK;
	if (failure == FAIL_MEMORY)
		fault_arm(FAULT_ALLOC, (uint32_t)rng_below(&program->rng, 2000), ENOMEM);
	if (failure == FAIL_DISK)
		limit_files(0);
	int r = compact(program->store, until);
	if (failure == FAIL_MEMORY)
		(void)fault_disarm();
	if (failure == FAIL_DISK)
		limit_files(RLIM_INFINITY);
	program->is_disk_hurt |= failure == FAIL_DISK;
	CHECK(r == 0 || failure != FAIL_NOT);
	struct store_size size;
	CHECK_OK(store_size(program->store, &size));
	return size;
}

/* What fails leaves some windows open. */
static void program_seal(struct program *program)
{
	struct store_size size = program_compact(program, store_seal);
	if (size.generations > program->generations_max)
		program->generations_max = size.generations;
	program->windows_max = size.windows > program->windows_max ? size.windows
	                                                           : program->windows_max;
}

/* What fails leaves some rollups unmade. */
static void program_roll(struct program *program)
{
	struct store_size size = program_compact(program, store_roll);
	program->rollups_max = size.rollups > program->rollups_max ? size.rollups
	                                                           : program->rollups_max;
}

struct scanned {
	struct program *program;
	const bool *wanted;
	uint64_t last_ns;
	uint64_t samples;
	uint64_t batches;
};

static const struct section *model_find(struct model *model, const struct store_stream *stream)
{
	for (uint32_t i = 0; i < model->count; i++) {
		const struct section *section = &model->sections[i];
		if (section->observer == stream->uuid.bytes[0] && section->epoch == stream->epoch &&
		        section->shard == stream->shard && section->seq == stream->seq)
			return section;
	}
	fail_msg("a batch that nobody appended");
	return NULL;
}

/* The batch is exactly what was appended, of the series that were asked for. */
static int check_batch(void *owner, const struct store_stream *stream, const struct batch *batch)
{
	static uint64_t value[SERIES][FUNCTIONS];
	uint64_t coverage_ns[SERIES] = { 0 };
	uint64_t lost[SERIES] = { 0 };
	uint64_t lost_of_none = 0;
	struct scanned *scanned = owner;
	const struct section *section = model_find(scanned->program->model, stream);
	const struct dict *dict = batch->dict;

	assert_int_equal(batch->start_ns, section->start_ns);
	assert_int_equal(batch->duration_ns, section->duration_ns);
	CHECK(batch->start_ns >= scanned->last_ns);
	scanned->last_ns = batch->start_ns;
	memset(value, 0, sizeof(value));
	for (uint32_t i = 0; i < section->rows_count; i++)
		if (scanned->wanted[section->rows[i].series])
			value[section->rows[i].series][section->rows[i].function] +=
			        section->rows[i].value;
	for (uint32_t i = 0; i < batch->rows_count; i++) {
		const struct row *row = &batch->rows[i];
		CHECK(i == 0 || row[-1].series < row->series ||
		        (row[-1].series == row->series && row[-1].node < row->node));
		value[read_series(dict, row->series)][read_function(dict, row->node)] -= row->value;
	}
	for (uint32_t s = 0; s < SERIES; s++)
		for (uint32_t f = 0; f < FUNCTIONS; f++)
			assert_int_equal(value[s][f], 0);

	for (uint32_t i = 0; i < batch->coverage_count; i++)
		coverage_ns[read_series(dict, batch->coverage[i].series)] += batch->coverage[i].ns;
	for (uint32_t i = 0; i < batch->losses_count; i++)
		if (batch->losses[i].series == SERIES_NONE)
			lost_of_none += batch->losses[i].count;
		else
			lost[read_series(dict, batch->losses[i].series)] += batch->losses[i].count;
	for (uint32_t s = 0; s < SERIES; s++) {
		assert_int_equal(coverage_ns[s], scanned->wanted[s] ? section->coverage_ns[s] : 0);
		assert_int_equal(lost[s], scanned->wanted[s] ? section->lost[s] : 0);
	}
	assert_int_equal(lost_of_none, section->lost_of_none);
	scanned->samples += batch_samples(batch);
	scanned->batches++;
	return 0;
}

static void program_query(struct program *program)
{
	static struct expected expected;
	static uint64_t value[SERIES][FUNCTIONS];
	uint64_t coverage_ns[SERIES] = { 0 };
	const char *text = selectors[rng_below(&program->rng, COUNT_OF(selectors))];
	uint64_t from = rng_below(&program->rng, HORIZON) * SECOND;
	uint64_t to = from + rng_below(&program->rng, HORIZON) * SECOND;
	uint64_t dice = rng_below(&program->rng, 3);
	/* Of what finer levels are gone of, only what sums can answer is asked, and of all time. */
	if (program->is_thin)
		text = selectors[rng_below(&program->rng, SELECTORS_OF_SUMS)];
	if (dice == 0 || program->is_thin) {
		from = 0;
		to = UINT64_MAX;
	} else if (dice == 1) {
		/* Of whole windows: the answer comes from sums. */
		from -= from % (60 * SECOND);
		to += 60 * SECOND - to % (60 * SECOND);
	}
	struct selector *selector;
	char error[256];
	struct store_match *match;
	bool wanted[SERIES];
	struct scanned scanned = { .program = program, .wanted = wanted };
	uint64_t batches = 0;
	struct store_sum sum;
	/* Little memory makes it a table, more a vector: the answer is the same. */
	struct store_sum_options options = {
		.from_ns = from,
		.to_ns = to,
		.memory_max = rng_below(&program->rng, 2) ? 64 << 20 : 70000,
	};

	CHECK_OK(selector_parse(text, &selector, error, sizeof(error)));
	model_expect(program->model, selector, from, to, &expected);
	CHECK_OK(store_find_series(program->store, selector, from, to, &match));
	/* Every series for itself, or all that are told apart by nothing in one. */
	bool is_one = rng_below(&program->rng, 2) || program->is_thin;
	autofree uint32_t *groups = store_fixture_groups(match);
	for (uint32_t i = 0; i < match->series_count && is_one; i++)
		groups[i] = 7;
	options.match = match;
	if (options.memory_max == 70000) /* each generation has its part of it */
		options.memory_max *= match->parts_count + 1;
	options.groups = groups;
	CHECK_OK(store_sum(program->store, &options, &sum));
	for (uint32_t s = 0; s < SERIES; s++)
		wanted[s] = selector_matches(
		        selector, program->model->dict, program->model->series[s]);
	if (!program->is_thin)
		CHECK_OK(store_scan(program->store, from, to, match, check_batch, &scanned));
	for (uint32_t i = 0; i < program->model->count && !program->is_thin; i++)
		batches += section_is_in(&program->model->sections[i], from, to);
	assert_int_equal(scanned.batches, batches);

	memset(value, 0, sizeof(value));
	for (uint32_t part = 0; part < sum.parts_count; part++) {
		const struct dict *dict = match->parts[part].dict;
		for (uint32_t i = 0; i < sum.parts[part].rows_count; i++) {
			const struct store_sum_row *row = &sum.parts[part].rows[i];
			uint32_t series = is_one ? 0 : read_series(dict, row->group);
			CHECK(i == 0 || row[-1].group < row->group ||
			        (row[-1].group == row->group && row[-1].node < row->node));
			value[series][read_function(dict, row->node)] += row->value;
		}
		for (uint32_t i = 0; i < match->parts[part].series_count; i++)
			coverage_ns[read_series(dict, match->parts[part].series[i])] +=
			        sum.coverage_ns[match->parts[part].first + i];
	}
	for (uint32_t s = 1; is_one && s < SERIES; s++)
		for (uint32_t f = 0; f < FUNCTIONS; f++) {
			expected.value[0][f] += expected.value[s][f];
			expected.value[s][f] = 0;
		}
	assert_memory_equal(value, expected.value, sizeof(value));
	assert_memory_equal(coverage_ns, expected.coverage_ns, sizeof(coverage_ns));
	/* The resolution last: it says from what the same answer was added up. */
	assert_memory_equal(&sum.completeness, &expected.completeness,
	        offsetof(struct completeness, resolution_finest_ns));
	CHECK(program->is_thin || scanned.samples == expected.completeness.samples);
	CHECK(sum.completeness.resolution_finest_ns <= sum.completeness.resolution_coarsest_ns);
	if (sum.completeness.resolution_coarsest_ns > program->coarsest_ns)
		program->coarsest_ns = sum.completeness.resolution_coarsest_ns;
	if (from < to && ++program->queries % 4 == 0)
		store_steps_check(program->store, &program->steps_rng, options);
	store_sum_fini(&sum);
	selector_free(selector);
	store_match_free(match);
}

static void program_check_totals(struct program *program)
{
	struct store_counters expected = program->model->past;
	expected.batches_duplicate = program->model->duplicates;
	struct store_counters counters;
	struct store_size size;
	uint64_t first = 0, last = 0;
	bool is_empty = true;

	for (uint32_t i = 0; i < program->model->count; i++) {
		const struct section *section = &program->model->sections[i];
		if (!section->is_kept)
			continue;
		expected.batches++;
		for (uint32_t j = 0; j < section->rows_count; j++)
			expected.samples += section->rows[j].value;
		for (uint32_t s = 0; s < SERIES; s++)
			expected.lost[LOSS_RING_FULL] += section->lost[s];
		expected.lost[LOSS_PERF_LOST] += section->lost_of_none;
		if (section->is_deleted)
			continue;
		if (is_empty || section->start_ns < first)
			first = section->start_ns;
		if (is_empty || section->start_ns > last)
			last = section->start_ns;
		is_empty = false;
	}
	CHECK_OK(store_counters(program->store, "", &counters));
	expected.rows = counters.rows; /* equal keys were added up: not the model's to know */
	assert_memory_equal(&counters, &expected, sizeof(counters));
	CHECK_OK(store_size(program->store, &size));
	assert_int_equal(size.first_ns, first);
	assert_int_equal(size.last_ns, last);
	assert_int_equal(size.corrupt, 0);
}

/*
 * All that there is goes, so that a program of many steps stays as fast as one of few: the model is
 * a list that is gone over for every answer.
 */
static void program_begin_anew(struct program *program)
{
	struct model *model = program->model;
	uint64_t batches;
	uint64_t expected = 0;
	for (uint32_t i = 0; i < model->count; i++) {
		const struct section *section = &model->sections[i];
		if (!section->is_kept)
			continue;
		expected += !section->is_deleted;
		model->past.batches++;
		for (uint32_t j = 0; j < section->rows_count; j++)
			model->past.samples += section->rows[j].value;
		for (uint32_t s = 0; s < SERIES; s++)
			model->past.lost[LOSS_RING_FULL] += section->lost[s];
		model->past.lost[LOSS_PERF_LOST] += section->lost_of_none;
	}
	CHECK_OK(store_delete_range(program->store, 0, UINT64_MAX, &batches));
	assert_int_equal(batches, expected);
	model->count = 0;
	program_check_totals(program);
}

static void program_step(struct program *program)
{
	if (program->model->count >= LIVE_MAX)
		program_begin_anew(program);
	uint64_t dice = rng_below(&program->rng, 1000);
	clock_virtual_advance(&program->clock, SECOND);
	if (dice < 350) {
		program_append(program, FAIL_NOT);
	} else if (dice < 400) {
		program_append(program, FAIL_MEMORY);
	} else if (dice < 410) {
		program_append(program, FAIL_DISK);
	} else if (dice < 430) {
		program_delete(program);
	} else if (dice < 435) {
		CHECK_OK(store_flush(program->store));
	} else if (dice < 440) {
		CHECK_OK(store_collect(program->store));
	} else if (dice < 460) {
		program_seal(program);
	} else if (dice < 475) {
		program_roll(program);
	} else if (dice < 485) {
		store_free(program->store);
		program_open(program);
	} else if (dice < 510) {
		program_check_totals(program);
	} else {
		program_query(program);
	}
}

/* ---- what is left when finer levels go ---- */

struct thinning {
	struct rng *rng;
	struct store_expire_item items[256];
	uint32_t count;
};

/* Some of the windows that a rollup has: their detail, or all of them. */
static int thinning_see(void *owner, const struct store_inventory_unit *unit)
{
	struct thinning *thinning = owner;
	const struct store_expire_item *last = thinning->count > 0
	                                               ? &thinning->items[thinning->count - 1]
	                                               : NULL;
	if (unit->is_open || !unit->is_rolled_up || thinning->count == COUNT_OF(thinning->items) ||
	        (last && memcmp(&last->window, &unit->window, sizeof(unit->window)) == 0) ||
	        rng_below(thinning->rng, 2))
		return 0;
	bool is_detail = unit->window.level == 0 && rng_below(thinning->rng, 3) == 0;
	thinning->items[thinning->count++] = (struct store_expire_item){
		.window = unit->window,
		.unit = STORE_UNIT_NONE,
		.parts = is_detail ? STORE_PART_DETAIL : STORE_PART_ALL,
	};
	return 0;
}

static void program_thin(struct program *program)
{
	struct thinning thinning = { .rng = &program->rng };
	struct store_run run = { .id = ++program->runs };
	struct store_expired expired;
	CHECK_OK(store_inventory(
	        program->store, (struct store_inventory_options){ 0 }, thinning_see, &thinning));
	if (thinning.count == 0)
		return;
	CHECK_OK(store_hide(program->store, &run, thinning.items, thinning.count, &expired));
	program->dropped[0] += expired.windows[0];
	program->dropped[1] += expired.windows[1];
	/* Some stay hidden: for readers that is the same. */
	if (expired.units[0] + expired.units[1] + expired.windows[0] + expired.windows[1] > 0 &&
	        rng_below(&program->rng, 4))
		CHECK_OK(store_erase(program->store, run.id, NULL, &expired));
}

/*
 * From here on windows go when they are in a rollup. Every answer is as exact as before: from what
 * is left, with what still comes late.
 */
static void program_end_thin(struct program *program)
{
	program->is_thin = true;
	for (uint32_t step = 0; step < THIN_STEPS; step++) {
		uint64_t dice = rng_below(&program->rng, 10);
		if (dice < 3) {
			program_append(program, FAIL_NOT);
		} else if (dice < 4) {
			program_seal(program);
		} else if (dice < 5) {
			program_roll(program);
		} else if (dice < 6) {
			program_thin(program);
		} else if (dice < 7 && rng_below(&program->rng, 4) == 0) {
			store_free(program->store);
			program_open(program);
		} else {
			program_query(program);
		}
	}
}

static uint64_t steps_count(void)
{
	const char *steps = getenv("PROFLEET_STEPS");
	return steps ? strtoull(steps, NULL, 10) : STEPS;
}

static void program_run(uint64_t seed)
{
	TEST_DIR(dir);
	struct program program = { .dir = &dir, .model = calloc(1, sizeof(struct model)) };
	struct source all = { 0 };

	print_message("seed %" PRIu64 "\n", seed);
	assert_non_null(program.model);
	rng_init(&program.rng, seed);
	rng_init(&program.steps_rng, ~seed);
	clock_virtual_init(&program.clock, 1700000000 * SECOND);
	program_open(&program);
	all = source_new(program.store, 0);
	program.model->dict = all.dict;
	for (uint32_t s = 0; s < SERIES; s++)
		program.model->series[s] = make_series(&all, s);

	for (uint64_t step = 0; step < steps_count(); step++)
		program_step(&program);
	program_check_totals(&program);
	program_end_thin(&program);
	CHECK(program.windows_max > 0 || getenv("PROFLEET_SEED"));
	generations_max = program.generations_max > generations_max ? program.generations_max
	                                                            : generations_max;
	print_message("  %" PRIu64 " windows, %" PRIu64 " rollups, coarsest answer %" PRIu64
	              " s, dropped %" PRIu64 " windows and %" PRIu64 " hours\n",
	        program.windows_max, program.rollups_max, program.coarsest_ns / SECOND,
	        program.dropped[0], program.dropped[1]);

	source_free(&all);
	for (uint32_t i = 0; i < GROUP_MAX; i++)
		source_free(&program.sources[i]);
	store_free(program.store);
	free(program.model);
}

static void random_programs_agree_with_the_model(void **state)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	const char *one = getenv("PROFLEET_SEED");
	CHECK_OK(sigaction(SIGXFSZ, &ignore, NULL));
	if (one) {
		program_run(strtoull(one, NULL, 10));
		return;
	}
	/* Nothing of the database has begun yet, so a child is a process like this one. */
	pid_t workers[WORKERS];
	for (uint64_t worker = 0; worker < WORKERS; worker++) {
		(void)fflush(NULL);
		workers[worker] = fork();
		CHECK(workers[worker] >= 0);
		if (workers[worker] > 0)
			continue;
		for (uint64_t seed = 1 + worker; seed <= SEEDS; seed += WORKERS)
			program_run(seed);
		CHECK(generations_max > 3);
		(void)fflush(NULL);
		_exit(0);
	}
	for (uint64_t worker = 0; worker < WORKERS; worker++) {
		int status;
		assert_int_equal(waitpid(workers[worker], &status, 0), workers[worker]);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
}

int main(void)
{
	/* Many small files and syncs: in memory where there is a file system there. */
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_programs_agree_with_the_model),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
