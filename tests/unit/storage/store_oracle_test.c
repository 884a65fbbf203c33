/*
 * Random programs against a model that is written for clarity (oracle_model.h). The store has to
 * agree exactly: what it says of each section that it is given; every value per group and function,
 * at every resolution, and every number of the completeness; which windows and units there are and
 * what of them is hidden. Over groups with duplicates and late batches; windows sealed while some
 * of theirs still come; rollups made anew; policies, holds, hiding, erasing, undoing, parting;
 * deletion by range and on request; generations of the dictionary that come and go; want of memory
 * and disk; restarts with other windows.
 *
 * Virtual time moves on and policies take what is old, so that a program of many steps stays as
 * small as one of few. A failure prints how to run its seed alone.
 */

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/hash.h"
#include "core/rng.h"
#include "storage/store_expire.h"
#include "storage/store_verify.h"
#include "tests/lib/fault.h"
#include "tests/unit/storage/oracle_model.h"
#include "tests/unit/storage/store_fixture.h"
#include "tests/unit/storage/store_steps.h"

/* Few and short under sanitizers; unit.storage.store_oracle_long has many and long ones. */
#ifndef ORACLE_SEEDS
#define ORACLE_SEEDS 4
#define ORACLE_STEPS 300
#endif

#define WORKERS      2
#define ENOUGH_SEEDS 20 /* for everything to have happened */
#define GROUP_MAX    4
#define TOLD_MAX     8192
#define POLICIES     3
#define HOLDS        2
#define NEW_MAX      1024
#define LATE_MAX_S   600
#define TIERS        4 /* detail, and sums of each level */

/* What is asked for. */
static const char *const selectors[] = {
	"cpu",
	"{}",
	"offcpu",
	"cpu{service=\"service1\"}",
	"cpu{service!=\"service1\"}",
	"cpu{absent=\"\"}",
	"cpu{version=\"v1\"}",
	"cpu{region!=\"r1\",service=~\"service[02]\"}",
	"cpu{service=~\"service[02]\",instance!=\"pod-1\"}",
	"cpu{instance!~\"pod-[01]\"}",
	"cpu{absent!=\"\"}",
	"cpu{service=\"nobody\"}",
	"cpu{service=~\".*\",instance=\"pod-2\"}",
};

/* How matched series are told apart. */
enum grouping { BY_NOTHING, BY_SERIES, BY_VERSION, BY_REGION, BY_BUCKET, BY_SERVICE, GROUPINGS };

struct told {
	struct store_window_name window;
	uint32_t generation;
	uint32_t unit;
	uint32_t class;
	uint32_t service;
	uint32_t parts;
	uint32_t hidden;
	uint32_t series; /* bits; 0 unless asked for */
	uint64_t batches;
	uint64_t rows; /* of detail when it was sealed */
	bool is_rolled_up;
};

struct policy {
	uint32_t series; /* bits */
	uint32_t priority;
	uint64_t keep_s[TIERS];
};

struct hold {
	uint32_t series; /* 0: none */
	uint64_t from_ns, to_ns;
};

/* Where a worker is, for whoever finds it dead. */
struct position {
	uint64_t seed;
	uint64_t step;
	char doing[24];
};

struct shared {
	uint64_t next_seed;
	struct position workers[WORKERS];
};

/* What all seeds of a worker came to: a program that does nothing proves nothing. */
struct reached {
	uint64_t windows, rollups, generations, coarsest_ns;
	uint64_t hidden[STORE_EXPIRE_LEVELS], erased[STORE_EXPIRE_LEVELS];
	uint64_t undone, parted, forgotten, folded, unanswerable, held, moved;
	uint64_t heads_built, heads_used, heads_refused;
};

struct program {
	struct rng rng;
	struct test_dir *dir;
	struct store *store;
	struct clock_virtual clock;
	struct source sources[GROUP_MAX];
	struct source all; /* every series there can be, for selectors */
	uint32_t all_series[MODEL_SERIES];
	struct model *model;
	struct position *at;
	struct reached *reached;
	struct told told[TOLD_MAX];
	uint32_t told_count;
	bool folds;
	bool is_hurt;     /* a full disk may still show, once, in what RocksDB does by itself */
	uint32_t divisor; /* series are of the class of their instance divided by it; 0: of one */
	uint64_t roll_ns[2];
	uint64_t runs_begun;
	struct policy policies[POLICIES];
	struct hold holds[HOLDS];
};

/* Two of one bucket that are told apart by nothing that sums keep. */
static char instances[MODEL_INSTANCES][16];

static void name_instances(void)
{
	uint64_t bucket[MODEL_INSTANCES];
	uint32_t named = 0;
	for (uint32_t i = 0; named < MODEL_INSTANCES; i++) {
		snprintf(instances[named], sizeof(instances[named]), "pod-%u", i);
		bucket[named] = hash64_bytes(instances[named], strlen(instances[named])) % 16;
		named += named != 3 || bucket[3] == bucket[0];
	}
}

static uint32_t version_of(uint32_t series)
{
	return model_instance(series) == 1;
}

static uint32_t region_of(uint32_t series)
{
	return model_instance(series) == 2;
}

static uint32_t bucket_of(uint32_t series)
{
	const char *name = instances[model_instance(series)];
	return (uint32_t)(hash64_bytes(name, strlen(name)) % 16);
}

static uint64_t program_now(struct program *program)
{
	return clock_unix_ns(&program->clock.clock);
}

/* ---- names in the store's words ---- */

static uint32_t make_series(struct source *source, uint32_t series)
{
	char service[16];
	snprintf(service, sizeof(service), "service%u", model_service(series));
	struct series of = {
		.type = source_string(source, "cpu"),
		.unit = source_string(source, "nanoseconds"),
		.period = model_periods[series % MODEL_PERIODS],
	};
	struct label labels[] = {
		{ source_string(source, "service"), source_string(source, service) },
		{ source_string(source, "instance"),
		        source_string(source, instances[model_instance(series)]) },
		{ source_string(source, "version"),
		        source_string(source, version_of(series) ? "v2" : "v1") },
		{ source_string(source, "region"),
		        source_string(source, region_of(series) ? "r2" : "r1") },
	};
	uint32_t id;
	CHECK_OK(dict_series(source->dict, &of, labels, COUNT_OF(labels), &id));
	return id;
}

/* main calls a module, and that the function. */
static uint32_t make_stack(struct source *source, uint32_t function)
{
	char names[2][16];
	const char *texts[] = { names[0], names[1], "main" };
	uint32_t frames[COUNT_OF(texts)];
	uint32_t node;
	snprintf(names[0], sizeof(names[0]), "f%u", function);
	snprintf(names[1], sizeof(names[1]), "g%u", function % MODEL_MODULES);
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		struct frame frame = {
			.kind = FRAME_MANAGED,
			.function = source_string(source, texts[i]),
		};
		CHECK_OK(dict_frame(source->dict, &frame, &frames[i]));
	}
	CHECK_OK(dict_stack(source->dict, frames, COUNT_OF(frames), &node));
	return node;
}

static const char *label_of(const struct dict *dict, uint32_t series, const char *label)
{
	return dict_text(
	        dict, dict_label_value(dict, series, dict_find_string(dict, label, strlen(label))));
}

/* Which series of the model one of the store is, by its labels. */
static uint32_t read_series(const struct dict *dict, uint32_t id)
{
	uint32_t service = (uint32_t)(label_of(dict, id, "service")[7] - '0');
	const char *name = label_of(dict, id, "instance");
	uint32_t instance = 0;
	while (instance < MODEL_INSTANCES && strcmp(instances[instance], name) != 0)
		instance++;
	assert_true(service < MODEL_SERVICES && instance < MODEL_INSTANCES);
	return (service * MODEL_INSTANCES + instance) * MODEL_PERIODS +
	       (dict_get_series(dict, id)->period == model_periods[1]);
}

static uint32_t read_node(const struct dict *dict, uint32_t node)
{
	const struct frame *frame = dict_get_frame(dict, dict_get_node(dict, node).frame);
	const char *name = dict_text(dict, frame->function);
	uint32_t number = (uint32_t)strtoul(name + 1, NULL, 10);
	return name[0] == 'f'   ? number
	       : name[0] == 'g' ? MODEL_FUNCTIONS + number
	                        : MODEL_FUNCTIONS + MODEL_MODULES;
}

/* ---- opening ---- */

static uint32_t class_of(uint32_t series, uint32_t divisor)
{
	return divisor ? model_instance(series) / divisor : 0;
}

static uint32_t classify(void *owner, const char *tenant, const struct dict *dict, uint32_t series)
{
	return class_of(read_series(dict, series), *(const uint32_t *)owner);
}

static void program_open(struct program *program)
{
	/* Windows of several lengths overlap; few rows at once make rounds and parts. */
	static const uint64_t windows_s[] = { 60, 60, 60, 20, 130 };
	static const uint64_t rolls_s[][2] = { { 120, 240 }, { 120, 240 }, { 60, 180 },
		{ 130, 390 } };
	struct rng *rng = &program->rng;
	struct store_options options = store_fixture_options(program->dir->path);
	size_t rolls = rng_below(rng, COUNT_OF(rolls_s));
	options.write_buffers_bytes = 1 << 20; /* the log is made as long at once */
	options.window_ns = windows_s[rng_below(rng, COUNT_OF(windows_s))] * SECOND;
	options.seal_rows_max = rng_below(rng, 2) ? 30 : 0;
	/* Some are sealed before their end, by size, and what comes then is sealed beside them. */
	options.head_bytes_max = rng_below(rng, 3) ? 0 : 1000;
	/* Any batch is worth sums in memory, as long as they are few. */
	options.head_sums_min = 1;
	options.head_sums_bytes_max = rng_below(rng, 3) ? 0 : 2000;
	/* Some live through many generations of the dictionary, by size or by age. */
	options.generation_nodes = rng_below(rng, 3) ? 0 : 30;
	options.generation_ns = 200 * SECOND;
	options.late_max_ns = LATE_MAX_S * SECOND;
	options.clock = &program->clock.clock;
	program->roll_ns[0] = options.roll_ns[0] = rolls_s[rolls][0] * SECOND;
	program->roll_ns[1] = options.roll_ns[1] = rolls_s[rolls][1] * SECOND;
	options.roll_stacks_max = rng_below(rng, 2) ? 20 : 0;
	options.fold_below[0] = program->folds ? 2000 : 0;
	options.fold_below[1] = program->folds ? 4000 : 0;
	program->store = store_fixture_open_with(options);
	program->divisor = (uint32_t)rng_below(rng, 3);
	if (program->divisor)
		store_set_classify(program->store, classify, &program->divisor);
	for (uint32_t i = 0; i < GROUP_MAX; i++)
		if (!program->sources[i].dict)
			program->sources[i] = source_new(program->store, 0);
}

static int tell_finding(void *owner, const struct store_finding *finding)
{
	/* What a seal that failed left behind is no damage. */
	if (finding->kind == STORE_FINDING_DAMAGE)
		print_message("%s %s: %s\n", finding->family, finding->key, finding->reason);
	return 0;
}

/* Every reference and checksum of the folder. */
static void program_verify(struct program *program)
{
	struct store_verify_options options = {
		.path = program->dir->path,
		.found = tell_finding,
	};
	struct store_verify_summary summary;
	char error[512] = "";
	if (store_verify(&options, &summary, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	assert_int_equal(summary.damaged, 0);
}

/* ---- failures that are meant ---- */

enum failure { FAIL_NOT, FAIL_MEMORY, FAIL_DISK };

static enum failure program_fail(struct program *program, enum failure failure, uint32_t within)
{
	if (failure == FAIL_MEMORY)
		fault_arm(FAULT_ALLOC, (uint32_t)rng_below(&program->rng, within), ENOMEM);
	/* No file has a block, or one, or two. */
	if (failure == FAIL_DISK)
		fault_limit_files(rng_below(&program->rng, 3) * 4096);
	return failure;
}

/* One in eight. */
static enum failure program_may_fail(struct program *program, uint32_t within)
{
	uint64_t dice = rng_below(&program->rng, 16);
	return program_fail(program,
	        dice == 0   ? FAIL_DISK
	        : dice == 1 ? FAIL_MEMORY
	                    : FAIL_NOT,
	        within);
}

static void program_mend(struct program *program, enum failure failure)
{
	if (failure == FAIL_MEMORY)
		(void)fault_disarm();
	if (failure == FAIL_DISK)
		fault_limit_files(FAULT_FILES_ANY);
	program->is_hurt |= failure == FAIL_DISK;
}

/*
 * What RocksDB wrote by itself while there was no disk, or is still writing when there is again,
 * shows with a later write: once, and by its own words. Then it is to be tried again.
 */
static bool program_must_again(struct program *program, int result, enum failure failure)
{
	if (result == 0 || failure != FAIL_NOT)
		return false;
	const char *text = store_error(program->store);
	if (!program->is_hurt || !strstr(text, "File too large"))
		fail_msg("%s: %d: %s", program->at->doing, result, text);
	program->is_hurt = false;
	return true;
}

/* ---- what there is ---- */

static int take_told(void *owner, const struct store_inventory_unit *unit)
{
	struct program *program = owner;
	assert_true(program->told_count < TOLD_MAX);
	assert_false(unit->is_corrupt);
	struct told *told = &program->told[program->told_count++];
	*told = (struct told){
		.window = unit->window,
		.generation = unit->dict_generation,
		.unit = unit->unit,
		.class = unit->class,
		.service = unit->service[0] ? (uint32_t)(unit->service[7] - '0') : 0,
		.parts = unit->parts,
		.hidden = unit->hidden,
		.batches = unit->batches,
		.rows = unit->rows,
		.is_rolled_up = unit->is_rolled_up,
	};
	for (uint32_t i = 0; i < unit->series_count; i++)
		told->series |= 1u << read_series(unit->dict, unit->series[i]);
	return 0;
}

static void program_look(struct program *program, uint64_t from_ns, uint64_t to_ns, bool at_series)
{
	struct store_inventory_options options = {
		.from_ns = from_ns,
		.to_ns = to_ns,
		.wants_series = at_series,
	};
	program->told_count = 0;
	CHECK_OK(store_inventory(program->store, options, take_told, program));
}

static const struct told *program_find_told(
        struct program *program, const struct store_window_name *window, uint32_t unit)
{
	for (uint32_t i = 0; i < program->told_count; i++)
		if (program->told[i].unit == unit &&
		        model_is_same(&program->told[i].window, window))
			return &program->told[i];
	return NULL;
}

static bool program_is_told(struct program *program, const struct store_window_name *window)
{
	for (uint32_t i = 0; i < program->told_count; i++)
		if (model_is_same(&program->told[i].window, window))
			return true;
	return false;
}

/* Of one window: every unit of the model, and no more. Returns how many lines it is told of by. */
static uint32_t program_check_window(struct program *program, struct model_window *window)
{
	bool is_rolled_up = model_is_rolled_up(program->model, window);
	uint32_t count = 0;
	for (uint32_t i = 0; i < window->units_count; i++) {
		const struct model_unit *unit = &window->units[i];
		if (unit->is_gone)
			continue;
		const struct told *told = program_find_told(program, &window->name, unit->number);
		CHECK(told);
		assert_int_equal(told->generation, window->generation);
		assert_int_equal(told->class, unit->class);
		assert_int_equal(told->service, unit->service);
		assert_int_equal(told->parts, unit->parts);
		assert_int_equal(told->hidden, unit->hidden & unit->parts);
		assert_int_equal(told->series, model_unit_series(unit));
		assert_int_equal(told->is_rolled_up, is_rolled_up);
		count++;
	}
	if (window->units_count > 0)
		return count;
	CHECK(program_find_told(program, &window->name, STORE_UNIT_NONE));
	return 1;
}

static void program_check_windows(struct program *program)
{
	uint32_t count = 0;
	program_look(program, 0, 0, true);
	for (uint32_t i = 0; i < program->model->windows_count; i++)
		count += program_check_window(program, program->model->windows[i]);
	assert_int_equal(count, program->told_count);
}

/* ---- appending ---- */

static struct store_append program_section(
        struct program *program, uint32_t index, const struct model_section *section)
{
	struct source *source = &program->sources[index];
	source_begin(source, section->start_ns, section->duration_ns);
	for (uint32_t i = 0; i < section->rows_count; i++)
		CHECK_OK(batch_add_row(source->batch, make_series(source, section->rows[i].series),
		        make_stack(source, section->rows[i].function), section->rows[i].value));
	for (uint32_t s = 0; s < MODEL_SERIES; s++) {
		if (section->coverage_ns[s])
			CHECK_OK(batch_add_coverage(
			        source->batch, make_series(source, s), section->coverage_ns[s]));
		if (section->lost[s])
			CHECK_OK(batch_add_loss(source->batch, make_series(source, s),
			        LOSS_RING_FULL, section->lost[s]));
		if (model_folded(section, s))
			CHECK_OK(batch_add_loss(source->batch, make_series(source, s), LOSS_FOLDED,
			        model_folded(section, s)));
	}
	if (section->lost_of_none)
		CHECK_OK(batch_add_loss(
		        source->batch, SERIES_NONE, LOSS_PERF_LOST, section->lost_of_none));
	source->stream.uuid.bytes[0] = (uint8_t)section->observer;
	source->stream.epoch = section->epoch;
	source->stream.shard = (uint16_t)section->shard;
	struct store_append append = source_section(source, section->seq);
	append.refuse_late = true;
	return append;
}

/* The generation that appends go to, as something just went there. */
static uint32_t program_generation(struct program *program, uint64_t start_ns)
{
	AUTO(store_match) match = store_fixture_find(program->store, "{}", start_ns, start_ns + 1);
	uint32_t generation = UINT32_MAX;
	store_read_lock(program->store);
	for (uint32_t i = 0; i < match->parts_count; i++)
		if (match->parts[i].dict == store_dict(program->store))
			generation = match->parts[i].generation;
	store_read_unlock(program->store);
	CHECK(generation != UINT32_MAX);
	return generation;
}

static struct model_section *program_pick_section(struct program *program)
{
	struct model *model = program->model;
	/* One in three was sent before, kept or refused; of these some in this very group. */
	if (rng_below(&program->rng, 3) == 0) {
		struct model_section *old =
		        &model->sections[rng_below(&program->rng, MODEL_SECTIONS_MAX)];
		if (old->is_there)
			return old;
	}
	struct model_section *new = model_new_section(model, &program->rng, program_now(program));
	CHECK(new); /* program_step() saw to it */
	return new;
}

static void program_settle_append(
        struct program *program, struct model_section *section, const struct store_append *append)
{
	struct model *model = program->model;
	uint64_t end_ns = section->start_ns + section->duration_ns;
	uint64_t now_ns = program_now(program);
	bool is_late = end_ns < now_ns && now_ns - end_ns > LATE_MAX_S * SECOND;
	/* When nothing is left of a stream, what it sent is late instead of known. */
	if (is_late && append->ret_status == WIRE_REJECT) {
		model->counters.batches_late++;
		return;
	}
	assert_int_equal(append->ret_status, section->is_kept ? WIRE_DUP : WIRE_OK);
	CHECK(section->is_kept || !is_late);
	model->counters.batches_duplicate += section->is_kept;
	if (!section->is_kept)
		model_keep(model, section, program_generation(program, section->start_ns));
}

static void program_append(struct program *program, enum failure failure)
{
	struct store_append appends[GROUP_MAX];
	struct model_section *sections[GROUP_MAX];
	uint32_t count = 1 + (uint32_t)rng_below(&program->rng, GROUP_MAX);
	int r;
	for (uint32_t i = 0; i < count; i++) {
		sections[i] = program_pick_section(program);
		appends[i] = program_section(program, i, sections[i]);
	}
	(void)program_fail(program, failure, 200);
	do {
		r = store_append(program->store, appends, count);
	} while (program_must_again(program, r, failure));
	program_mend(program, failure);
	for (uint32_t i = 0; i < count && r == 0; i++)
		program_settle_append(program, sections[i], &appends[i]);
}

/* ---- sealing ---- */

/* What a run speaks of is not given anew: it would be hidden from its beginning. */
static void program_check_number(struct program *program, const struct store_window_name *name)
{
	for (uint32_t i = 0; i < MODEL_RUNS_MAX; i++)
		CHECK(!program->model->runs[i].id ||
		        !model_run_names(&program->model->runs[i], name));
}

/* What was open in the window's time is in it now, each series in one of its units. */
static void program_take_sealed_window(
        struct program *program, const struct store_window_name *name, uint32_t generation)
{
	struct model *model = program->model;
	struct model_window *window = model_add(model, name);
	uint32_t taken[MODEL_SECTIONS_MAX] = { 0 };
	program_check_number(program, name);
	window->generation = generation;
	window->made_ns = program_now(program);
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX; i++) {
		const struct model_section *section = &model->sections[i];
		if (section->is_there && section->is_open && section->generation == generation &&
		        section->start_ns >= name->from_ns && section->start_ns < name->to_ns)
			model_put_section(window, i);
	}
	for (uint32_t j = 0; j < window->sections_count; j++)
		model_note_ends(window, model->sections[window->sections[j]].start_ns,
		        model->sections[window->sections[j]].start_ns);
	for (uint32_t i = 0; i < program->told_count; i++) {
		const struct told *told = &program->told[i];
		if (!model_is_same(&told->window, name))
			continue;
		assert_int_equal(told->batches, window->sections_count);
		window->batches = told->batches;
		if (told->unit == STORE_UNIT_NONE)
			continue;
		struct model_unit *unit = model_add_unit(window, told->unit);
		unit->class = told->class;
		unit->service = told->service;
		unit->parts = told->parts;
		unit->rows = told->rows;
		for (uint32_t s = 0; s < MODEL_SERIES; s++)
			CHECK(!(told->series >> s & 1) ||
			        class_of(s, program->divisor) == told->class);
		for (uint32_t j = 0; j < window->sections_count; j++) {
			uint32_t number = window->sections[j];
			uint32_t series = model->sections[number].open & told->series;
			CHECK(!(taken[number] & series));
			taken[number] |= series;
			if (series)
				model_put_share(unit, number, series);
		}
	}
	for (uint32_t j = 0; j < window->sections_count; j++) {
		struct model_section *section = &model->sections[window->sections[j]];
		assert_int_equal(taken[window->sections[j]], section->open);
		section->is_open = false;
		section->open = 0;
	}
}

/* The windows of a level that the model does not have, each once. */
static uint32_t program_find_new(struct program *program, uint32_t level, struct told new[NEW_MAX])
{
	uint32_t count = 0;
	program_look(program, 0, 0, false);
	for (uint32_t i = 0; i < program->told_count; i++) {
		const struct told *told = &program->told[i];
		if (told->window.level != level || model_find(program->model, &told->window) ||
		        (count > 0 && model_is_same(&new[count - 1].window, &told->window)))
			continue;
		assert_true(count < NEW_MAX);
		new[count++] = *told;
	}
	return count;
}

static void program_take_sealed(struct program *program)
{
	struct told new[NEW_MAX];
	uint32_t count = program_find_new(program, 0, new);
	for (uint32_t i = 0; i < count; i++) {
		program_look(program, new[i].window.from_ns, new[i].window.to_ns, true);
		program_take_sealed_window(program, &new[i].window, new[i].generation);
		program->reached->windows++;
	}
}

static uint64_t program_until(struct program *program)
{
	return rng_below(&program->rng, 4)
	               ? program_now(program) - rng_below(&program->rng, 200) * SECOND
	               : UINT64_MAX;
}

static void program_seal(struct program *program)
{
	uint64_t until = program_until(program);
	enum failure failure = program_may_fail(program, 2000);
	int r;
	do {
		r = store_seal(program->store, until);
	} while (program_must_again(program, r, failure));
	program_mend(program, failure);
	program_take_sealed(program);
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX && failure == FAIL_NOT; i++)
		CHECK(!program->model->sections[i].is_there ||
		        !program->model->sections[i].is_open || until != UINT64_MAX);
}

/* ---- sums of what is open ---- */

static void program_sum_heads(struct program *program)
{
	enum failure failure = program_may_fail(program, 300);
	struct store_size size;
	store_sum_heads(program->store);
	program_mend(program, failure);
	CHECK_OK(store_size(program->store, &size));
	CHECK(size.head_sums_rows == 0 || size.head_sums_memory > 0);
}

static void program_note_heads(struct program *program)
{
	struct store_size size;
	CHECK_OK(store_size(program->store, &size));
	program->reached->heads_built += size.head_sums_built;
	program->reached->heads_used += size.head_sums_used;
	program->reached->heads_refused += size.head_sums_refused;
}

/* ---- rolling up ---- */

/* What goes into a rollup: what is in none yet, and rollups of the slot that it replaces. */
static bool program_is_replaced(
        struct program *program, const struct model_window *window, const struct told *new)
{
	for (uint32_t i = 0; i < MODEL_RUNS_MAX; i++)
		if (program->model->runs[i].id &&
		        model_run_names(&program->model->runs[i], &window->name))
			return false;
	return window->generation == new->generation && window->name.level == new->window.level &&
	       window->name.from_ns == new->window.from_ns &&
	       window->name.to_ns == new->window.to_ns &&
	       !model_is_same(&window->name, &new->window) &&
	       !model_is_taken(program->model, window);
}

static bool program_is_fresh(
        struct program *program, const struct model_window *window, const struct told *new)
{
	return window->generation == new->generation &&
	       window->name.level + 1 == new->window.level &&
	       window->name.from_ns >= new->window.from_ns &&
	       window->name.to_ns <= new->window.to_ns && !model_is_taken(program->model, window);
}

static void add_source(struct model_window *window, const struct store_window_name *source)
{
	if (model_has_source(window, source))
		return;
	assert_true(window->sources_count < MODEL_SOURCES_MAX);
	window->sources[window->sources_count++] = *source;
}

static bool goes_into(const struct model_unit *from, const struct model_unit *unit)
{
	return model_unit_is_visible(from) && from->class == unit->class &&
	       from->service == unit->service;
}

/* The place of a unit among all that go into a rollup, in order. */
struct part {
	uint32_t input;
	uint32_t unit;
};

/*
 * Adds the next of the inputs' units of that class and service, until there are as many rows as the
 * unit is told to have; the last unit has all that are left. Moves *at behind them.
 */
static void add_parts(struct model_unit *unit, struct model_window **inputs, uint32_t count,
        bool is_last, struct part *at)
{
	uint64_t rows = 0;
	for (; at->input < count; at->input++, at->unit = 0)
		for (; at->unit < inputs[at->input]->units_count; at->unit++) {
			const struct model_unit *from = &inputs[at->input]->units[at->unit];
			if (!goes_into(from, unit))
				continue;
			if (!is_last && rows == unit->rows && rows > 0)
				return;
			rows += from->rows;
			for (uint32_t k = 0; k < from->shares_count; k++)
				model_put_share(
				        unit, from->shares[k].section, from->shares[k].series);
		}
	assert_int_equal(rows, unit->rows);
}

static bool is_alike(const struct told *a, const struct told *b)
{
	return model_is_same(&a->window, &b->window) && a->class == b->class &&
	       a->service == b->service;
}

/* Units of one class and service follow each other, and share out the inputs in their order. */
static void program_share_out(struct program *program, struct model_window *window,
        struct model_window **inputs, uint32_t count)
{
	struct part at = { 0 };
	for (uint32_t i = 0; i < program->told_count; i++) {
		const struct told *told = &program->told[i];
		if (told->unit == STORE_UNIT_NONE || !model_is_same(&told->window, &window->name))
			continue;
		bool is_last = i + 1 == program->told_count || !is_alike(told, told + 1);
		struct model_unit *unit = model_add_unit(window, told->unit);
		unit->class = told->class;
		unit->service = told->service;
		unit->parts = told->parts;
		unit->rows = told->rows;
		add_parts(unit, inputs, count, is_last, &at);
		assert_int_equal(model_unit_series(unit), told->series);
		if (is_last)
			at = (struct part){ 0 };
	}
}

/* Every visible unit of every input is in one. */
static void check_shared_out(
        const struct model_window *window, struct model_window **inputs, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		for (uint32_t j = 0; j < inputs[i]->units_count; j++) {
			const struct model_unit *from = &inputs[i]->units[j];
			bool is_in = !model_unit_is_visible(from);
			for (uint32_t k = 0; k < window->units_count; k++)
				is_in |= goes_into(from, &window->units[k]);
			CHECK(is_in);
		}
}

static int compare_windows(const void *a, const void *b)
{
	const struct store_window_name *x = &(*(struct model_window *const *)a)->name;
	const struct store_window_name *y = &(*(struct model_window *const *)b)->name;
	if (x->from_ns != y->from_ns)
		return x->from_ns < y->from_ns ? -1 : 1;
	if (x->to_ns != y->to_ns)
		return x->to_ns < y->to_ns ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

/* The first `replaced` of the inputs go, of the others it is made. */
static struct model_window *program_make_rollup(struct program *program, const struct told *new,
        struct model_window **inputs, uint32_t count, uint32_t replaced)
{
	struct model_window *window = model_add(program->model, &new->window);
	program_check_number(program, &new->window);
	window->generation = new->generation;
	window->made_ns = program_now(program);
	for (uint32_t i = 0; i < count; i++) {
		model_note_ends(window, inputs[i]->first_ns, inputs[i]->last_ns);
		window->batches += inputs[i]->batches;
		for (uint32_t j = 0; j < inputs[i]->sections_count && !inputs[i]->is_hidden; j++)
			model_put_section(window, inputs[i]->sections[j]);
		for (uint32_t j = 0; j < inputs[i]->sources_count; j++)
			add_source(window, &inputs[i]->sources[j]);
		if (i >= replaced)
			add_source(window, &inputs[i]->name);
	}
	assert_int_equal(window->batches, new->batches);
	program_share_out(program, window, inputs, count);
	check_shared_out(window, inputs, count);
	return window;
}

/* Rows and series that a new window is told to have are those that can be seen of this one. */
static bool program_is_told_alike(
        struct program *program, const struct model_window *window, const struct told *new)
{
	uint64_t rows = 0;
	uint32_t series = 0;
	for (uint32_t i = 0; i < program->told_count; i++) {
		const struct told *told = &program->told[i];
		if (told->unit == STORE_UNIT_NONE || !model_is_same(&told->window, &new->window))
			continue;
		rows += told->rows;
		series |= told->series;
	}
	for (uint32_t i = 0; i < window->units_count; i++)
		if (model_unit_is_visible(&window->units[i])) {
			rows -= window->units[i].rows;
			series &= ~model_unit_series(&window->units[i]);
		}
	return rows == 0 && series == 0;
}

/* What moved to a compact dictionary: it goes on in its own place, and what was made of it too. */
static struct model_window *program_find_moved(struct program *program, const struct told *new)
{
	for (uint32_t i = 0; i < program->model->windows_count; i++) {
		struct model_window *window = program->model->windows[i];
		if (new->generation >= MODEL_GENERATION_COMPACT &&
		        window->name.level == new->window.level &&
		        window->name.from_ns == new->window.from_ns &&
		        window->name.to_ns == new->window.to_ns &&
		        window->generation != new->generation && window->batches == new->batches &&
		        !program_is_told(program, &window->name) &&
		        program_is_told_alike(program, window, new))
			return window;
	}
	return NULL;
}

/* Moving comes after everything that is made in the same turn: until then it is of the old one. */
static void program_take_moved(
        struct program *program, struct model_window *from, const struct told *new)
{
	struct model *model = program->model;
	struct model_window *to = program_make_rollup(program, new, &from, 1, 1);
	to->made_ns = from->made_ns;
	to->generation = from->generation;
	to->moves_to = new->generation;
	/* What is gone of it is still to be missed. */
	for (uint32_t i = 0; i < from->units_count; i++)
		if (from->units[i].is_gone) {
			struct model_unit *gone = model_add_unit(
			        to, UINT32_MAX - 1000 - to->units_count);
			gone->service = from->units[i].service;
			gone->is_gone = true;
			gone->is_void = from->units[i].is_void;
		}
	for (uint32_t i = 0; i < model->windows_count; i++)
		for (uint32_t j = 0; j < model->windows[i]->sources_count; j++)
			if (model_is_same(&model->windows[i]->sources[j], &from->name))
				model->windows[i]->sources[j] = to->name;
	model_remove(model, from);
	program->reached->moved++;
}

static void program_end_moves(struct program *program)
{
	struct model *model = program->model;
	for (uint32_t i = 0; i < model->windows_count; i++) {
		struct model_window *window = model->windows[i];
		if (!window->moves_to)
			continue;
		window->generation = window->moves_to;
		window->moves_to = 0;
	}
}

/* What it is made of: what it replaces first. The number of all of them. */
static uint32_t program_list_inputs(struct program *program, const struct told *new,
        struct model_window **inputs, uint32_t *ret_replaced)
{
	struct model *model = program->model;
	uint32_t count = 0;
	for (uint32_t i = 0; i < model->windows_count; i++)
		if (program_is_replaced(program, model->windows[i], new))
			inputs[count++] = model->windows[i];
	*ret_replaced = count;
	for (uint32_t i = 0; i < model->windows_count; i++)
		if (program_is_fresh(program, model->windows[i], new))
			inputs[count++] = model->windows[i];
	qsort(inputs, *ret_replaced, sizeof(struct model_window *), compare_windows);
	qsort(inputs + *ret_replaced, count - *ret_replaced, sizeof(struct model_window *),
	        compare_windows);
	return count;
}

static bool has_batches(struct model_window **inputs, uint32_t count, uint64_t batches)
{
	for (uint32_t i = 0; i < count; i++)
		batches -= inputs[i]->batches;
	return batches == 0;
}

static void program_take_rollup(struct program *program, struct told new)
{
	struct model *model = program->model;
	struct model_window *inputs[MODEL_WINDOWS_MAX];
	struct model_window *moved = program_find_moved(program, &new);
	uint32_t generation = new.generation;
	uint32_t replaced;
	if (moved) {
		program_take_moved(program, moved, &new);
		return;
	}
	uint32_t count = program_list_inputs(program, &new, inputs, &replaced);
	/* One that was made, and moved in the same turn: of which generation was it? */
	for (uint32_t i = 0; i < model->windows_count && count == replaced; i++) {
		new.generation = model->windows[i]->generation;
		count = program_list_inputs(program, &new, inputs, &replaced);
		if (!has_batches(inputs, count, new.batches))
			count = replaced;
	}
	CHECK(count > replaced); /* a rollup is made of something */
	struct model_window *window = program_make_rollup(program, &new, inputs, count, replaced);
	if (new.generation != generation)
		window->moves_to = generation;
	for (uint32_t i = 0; i < replaced; i++)
		model_remove(model, inputs[i]);
}

/* Nothing that could have been rolled up by then was left. */
static void program_check_rolled(struct program *program, uint64_t until)
{
	for (uint32_t i = 0; i < program->model->windows_count; i++) {
		const struct model_window *window = program->model->windows[i];
		if (window->name.level == 2 || model_is_taken(program->model, window))
			continue;
		uint64_t length = program->roll_ns[window->name.level];
		uint64_t to_ns = window->name.from_ns - window->name.from_ns % length + length;
		CHECK(window->name.to_ns > to_ns || to_ns > until);
	}
}

static void program_roll(struct program *program)
{
	uint64_t until = program_until(program);
	enum failure failure = program_may_fail(program, 2000);
	int r;
	do {
		r = store_roll(program->store, until);
	} while (program_must_again(program, r, failure));
	program_mend(program, failure);
	for (uint32_t level = 1; level < STORE_EXPIRE_LEVELS; level++) {
		struct told new[NEW_MAX];
		uint32_t count = program_find_new(program, level, new);
		for (uint32_t i = 0; i < count; i++) {
			program_look(program, new[i].window.from_ns, new[i].window.to_ns, true);
			program_take_rollup(program, new[i]);
			program->reached->rollups++;
		}
	}
	program_end_moves(program);
	model_settle_hidden(program->model);
	if (failure == FAIL_NOT)
		program_check_rolled(program, until);
}

/* ---- hiding, erasing, undoing ---- */

static int has_run(void *owner, const struct store_run_state *state)
{
	return state->run.id == *(const uint64_t *)owner;
}

static bool program_has_run(struct program *program, uint64_t run)
{
	return store_runs(program->store, has_run, &run) != 0;
}

/* A write that failed is looked for after the next one that did not. */
static void program_flush(struct program *program)
{
	int r;
	do {
		r = store_flush(program->store);
	} while (program_must_again(program, r, FAIL_NOT));
}

static void program_hide(
        struct program *program, const struct store_expire_item *items, uint32_t count)
{
	struct model_run *slot = model_find_run(program->model, 0);
	struct store_expired expired = { 0 };
	struct store_expired expected = { 0 };
	if (!slot || count == 0)
		return;
	struct store_run run = {
		.id = ++program->runs_begun,
		.hidden_ns = program_now(program),
		.note = "oracle",
	};
	enum failure failure = program_may_fail(program, 300);
	int r;
	do {
		r = store_hide(program->store, &run, items, count, &expired);
	} while (program_must_again(program, r, failure));
	program_mend(program, failure);
	if (r < 0) {
		program_flush(program);
		if (!program_has_run(program, run.id))
			return;
	}
	bool is_hidden = model_hide(
	        program->model, slot, run.id, run.hidden_ns, items, count, &expected);
	assert_int_equal(program_has_run(program, run.id), is_hidden);
	for (uint32_t level = 0; level < STORE_EXPIRE_LEVELS && r == 0; level++) {
		assert_int_equal(expired.windows[level], expected.windows[level]);
		program->reached->hidden[level] += expired.windows[level] + expired.units[level];
	}
}

static void program_hide_some(struct program *program)
{
	struct store_expire_item items[12];
	uint32_t count = 0;
	program_look(program, 0, 0, false);
	for (uint64_t i = rng_below(&program->rng, COUNT_OF(items)); i > 0; i--) {
		if (program->told_count == 0)
			return;
		const struct told *told =
		        &program->told[rng_below(&program->rng, program->told_count)];
		items[count++] = (struct store_expire_item){ told->window,
			rng_below(&program->rng, 4) == 0 ? STORE_UNIT_NONE : told->unit,
			rng_below(&program->rng, 2) ? STORE_PART_ALL : STORE_PART_DETAIL };
	}
	program_hide(program, items, count);
}

/* What the disk no longer has of what the run hides. */
static void program_settle_window(struct program *program, struct model_window *window,
        const struct model_run *run, bool must_be_gone)
{
	bool is_taken = model_is_taken(program->model, window);
	for (uint32_t i = 0; i < window->units_count; i++) {
		struct model_unit *unit = &window->units[i];
		uint32_t hid = model_run_parts(run, &window->name, unit->number);
		if (unit->is_gone || !hid)
			continue;
		const struct told *told = program_find_told(program, &window->name, unit->number);
		uint32_t parts = told ? told->parts : 0;
		CHECK(!(unit->parts & ~parts & ~hid)); /* nothing else went */
		CHECK(!must_be_gone || !(parts & hid));
		unit->parts = parts;
		unit->is_gone = parts == 0;
		unit->is_void = unit->is_gone && !is_taken;
	}
}

static void program_settle_erased(
        struct program *program, const struct model_run *run, bool must_be_gone)
{
	struct model *model = program->model;
	program_look(program, 0, 0, false);
	for (uint32_t i = model->windows_count; i > 0; i--) {
		struct model_window *window = model->windows[i - 1];
		if (!model_run_names(run, &window->name))
			continue;
		program_settle_window(program, window, run, must_be_gone);
	}
	for (uint32_t i = model->windows_count; i > 0; i--) {
		struct model_window *window = model->windows[i - 1];
		if (!model_run_names(run, &window->name) || program_is_told(program, &window->name))
			continue;
		bool is_any_left = false;
		for (uint32_t j = 0; j < window->units_count; j++)
			is_any_left |= !window->units[j].is_gone;
		CHECK(!is_any_left);
		program->reached->erased[window->name.level]++;
		model_remove(model, window);
	}
}

static struct model_run *program_pick_run(struct program *program)
{
	struct model_run *run = &program->model->runs[rng_below(&program->rng, MODEL_RUNS_MAX)];
	return run->id ? run : NULL;
}

static void program_erase(struct program *program, struct model_run *run)
{
	struct store_expired expired = { 0 };
	enum failure failure = program_may_fail(program, 600);
	int r;
	do {
		r = store_erase(program->store, run->id, NULL, &expired);
	} while (program_must_again(program, r, failure));
	program_mend(program, failure);
	program_flush(program);
	bool is_over = !program_has_run(program, run->id);
	CHECK(is_over || r < 0);
	program_settle_erased(program, run, is_over);
	if (is_over)
		*run = (struct model_run){ 0 };
	model_settle_hidden(program->model);
}

/* Rollups made while it was hidden are made anew, where nothing is lost by that. */
static void program_undo(struct program *program, struct model_run *run)
{
	struct model *model = program->model;
	struct store_expired back = { 0 };
	static struct store_window_name dropped[MODEL_WINDOWS_MAX];
	uint32_t count = 0;
	for (uint32_t i = 0; i < model->windows_count; i++) {
		struct model_window *rollup = model->windows[i];
		bool has_any = false;
		for (uint32_t j = 0; j < model->windows_count; j++)
			has_any |= model_run_names(run, &model->windows[j]->name) &&
			           model_has_source(rollup, &model->windows[j]->name);
		if (has_any && rollup->made_ns >= run->hidden_ns &&
		        model_can_make_again(model, rollup, run))
			dropped[count++] = rollup->name;
	}
	enum failure failure = program_may_fail(program, 300);
	int r;
	do {
		r = store_undo(program->store, run->id, &back);
	} while (program_must_again(program, r, failure));
	program_mend(program, failure);
	program_flush(program);
	if (program_has_run(program, run->id)) {
		CHECK(r < 0);
		program_settle_erased(program, run, false);
		return;
	}
	program_settle_erased(program, run, false);
	for (uint32_t i = 0; i < count; i++)
		model_remove(model, model_find(model, &dropped[i]));
	*run = (struct model_run){ 0 };
	model_settle_hidden(model);
	program->reached->undone++;
}

/* ---- policies and holds ---- */

static void program_make_policy(struct program *program, uint32_t number)
{
	struct rng *rng = &program->rng;
	struct policy *policy = &program->policies[number];
	uint64_t dice = rng_below(rng, 3);
	policy->priority = (uint32_t)rng_below(rng, 3);
	policy->series = dice == 0   ? model_series_of_service((uint32_t)rng_below(rng, 3))
	                 : dice == 1 ? model_series_of_instance((uint32_t)rng_below(rng, 5))
	                             : 0;
	/* One is of all and the least: what nobody names goes as well. */
	if (number == 0)
		*policy = (struct policy){ .series = (1u << MODEL_SERIES) - 1 };
	uint64_t keep_s = 0;
	for (int tier = 0; tier < TIERS; tier++) {
		keep_s += rng_below(rng, tier == 0 ? 120 : 200);
		policy->keep_s[tier] = keep_s;
	}
}

/* The longest of those with the highest priority. */
static uint64_t program_keep_s(const struct program *program, uint32_t series, uint32_t tier)
{
	uint32_t priority = 0;
	uint64_t keep_s = 0;
	for (int i = 0; i < POLICIES; i++) {
		const struct policy *policy = &program->policies[i];
		if (!(policy->series >> series & 1) || policy->priority < priority)
			continue;
		if (policy->priority > priority)
			keep_s = 0;
		priority = policy->priority;
		keep_s = policy->keep_s[tier] > keep_s ? policy->keep_s[tier] : keep_s;
	}
	return keep_s;
}

static bool program_is_held(const struct program *program, const struct told *told)
{
	for (int i = 0; i < HOLDS; i++)
		if (program->holds[i].series & told->series &&
		        told->window.from_ns < program->holds[i].to_ns &&
		        told->window.to_ns > program->holds[i].from_ns)
			return true;
	return false;
}

/* Has this tier of it expired, for all of its series? */
static bool program_has_expired(struct program *program, const struct told *told, uint32_t tier)
{
	for (uint32_t s = 0; s < MODEL_SERIES; s++)
		if ((told->series >> s & 1) &&
		        told->window.to_ns + program_keep_s(program, s, tier) * SECOND >
		                program_now(program))
			return false;
	return true;
}

static void program_retain(struct program *program)
{
	static struct store_expire_item items[MODEL_ITEMS_MAX];
	uint32_t count = 0;
	program_look(program, 0, 0, true);
	for (uint32_t i = 0; i < program->told_count && count < MODEL_ITEMS_MAX; i++) {
		const struct told *told = &program->told[i];
		uint32_t seen = told->parts & ~told->hidden;
		uint32_t parts = 0;
		if (program_is_held(program, told)) {
			program->reached->held++;
			continue;
		}
		if (seen & STORE_PART_DETAIL && program_has_expired(program, told, 0))
			parts |= STORE_PART_DETAIL;
		/* Sums wait until they are in a rollup, unless that has expired as well. */
		if (seen & STORE_PART_SUMS &&
		        program_has_expired(program, told, 1 + told->window.level) &&
		        (told->is_rolled_up || program_has_expired(program, told, 3)))
			parts |= STORE_PART_SUMS;
		if (parts)
			items[count++] = (struct store_expire_item){ told->window, told->unit,
				parts };
	}
	program_hide(program, items, count);
}

/* A hold undoes what is hidden already. */
static void program_hold(struct program *program)
{
	struct rng *rng = &program->rng;
	struct hold *hold = &program->holds[rng_below(rng, HOLDS)];
	if (hold->series) {
		hold->series = 0;
		return;
	}
	hold->series = rng_below(rng, 2) ? model_series_of_service((uint32_t)rng_below(rng, 3))
	                                 : model_series_of_instance((uint32_t)rng_below(rng, 5));
	hold->from_ns = program_now(program) - rng_below(rng, 600) * SECOND;
	hold->to_ns = hold->from_ns + rng_below(rng, 300) * SECOND;
	for (int i = 0; i < MODEL_RUNS_MAX; i++)
		if (program->model->runs[i].id && rng_below(rng, 2))
			program_undo(program, &program->model->runs[i]);
}

/* ---- parting and deleting ---- */

/*
 * A unit that is not told of any more went, or was parted: then nothing is missing by that, but
 * what of it went at once was a unit for a moment.
 */
static void settle_unit(struct model_window *window, uint32_t number, uint32_t gone, bool is_taken)
{
	struct model_unit *unit = &window->units[number];
	uint32_t series = model_unit_series(unit);
	unit->is_gone = true;
	unit->is_void = !is_taken || (series & ~gone) != 0;
	if (!(series & gone) || !(series & ~gone))
		return;
	struct model_unit *part = model_add_unit(window, UINT32_MAX - window->units_count);
	part->service = window->units[number].service;
	part->is_gone = true;
	part->is_void = !is_taken;
}

/* Units of a window that are new have what units that went had, but for what is to go. */
static void program_settle_parted(
        struct program *program, struct model_window *window, uint32_t gone)
{
	struct model_unit pool = { 0 };
	uint32_t count = window->units_count;
	bool is_taken = model_is_taken(program->model, window);
	for (uint32_t i = 0; i < count; i++) {
		struct model_unit *unit = &window->units[i];
		if (unit->is_gone || program_find_told(program, &window->name, unit->number))
			continue;
		CHECK(!(model_unit_series(unit) & gone) || !(unit->hidden & STORE_PART_SUMS));
		for (uint32_t j = 0; j < unit->shares_count; j++)
			model_put_share(&pool, unit->shares[j].section, unit->shares[j].series);
		settle_unit(window, i, gone, is_taken);
	}
	for (uint32_t i = 0; i < program->told_count; i++) {
		const struct told *told = &program->told[i];
		if (!model_is_same(&told->window, &window->name) || told->unit == STORE_UNIT_NONE ||
		        model_unit(window, told->unit))
			continue;
		struct model_unit *unit = model_add_unit(window, told->unit);
		unit->class = told->class;
		unit->service = told->service;
		unit->parts = told->parts;
		unit->rows = told->rows;
		for (uint32_t j = 0; j < pool.shares_count; j++) {
			struct model_share *share = &pool.shares[j];
			if (share->series & told->series)
				model_put_share(unit, share->section, share->series & told->series);
			share->series &= ~told->series;
		}
	}
	CHECK(!(model_unit_series(&pool) & ~gone)); /* nothing else went */
	free(pool.shares);
}

static void program_part(struct program *program)
{
	uint32_t divisor = 1 + (uint32_t)rng_below(&program->rng, 2);
	struct model *model = program->model;
	struct store_resealed resealed = { 0 };
	if (model->windows_count == 0)
		return;
	struct model_window *window =
	        model->windows[rng_below(&program->rng, model->windows_count)];
	if (window->name.level > 0)
		return;
	enum failure failure = program_may_fail(program, 1000);
	int r;
	do {
		r = store_reseal(program->store, window->name, classify, &divisor, &resealed);
	} while (program_must_again(program, r, failure));
	program_mend(program, failure);
	program_flush(program);
	program_look(program, window->name.from_ns, window->name.to_ns, true);
	program_settle_parted(program, window, 0);
	model_settle_hidden(model);
	program->reached->parted += resealed.units_parted;
}

/* May the range be cut out of the window, as all that it has can be told apart? */
static bool program_can_cut(struct program *program, const struct model_window *window)
{
	for (uint32_t i = 0; i < window->units_count; i++)
		if (window->units[i].is_gone || window->units[i].hidden ||
		        (window->name.level == 0 && !(window->units[i].parts & STORE_PART_DETAIL)))
			return false;
	for (uint32_t i = 0; i < window->sources_count; i++) {
		struct model_window *source = model_find(program->model, &window->sources[i]);
		if (window->sources[i].level == 0 &&
		        (!source || source->is_hidden || !program_can_cut(program, source)))
			return false;
	}
	return true;
}

static bool overlaps(const struct model_window *window, uint64_t from, uint64_t to)
{
	return window->name.from_ns < to && window->name.to_ns > from;
}

static bool is_within(const struct model_window *window, uint64_t from, uint64_t to)
{
	return window->name.from_ns >= from && window->name.to_ns <= to;
}

/* What is visible of a window that was cut, and outside of the range, is open again. */
static void program_reopen(
        struct program *program, const struct model_window *window, uint64_t from, uint64_t to)
{
	struct model *model = program->model;
	for (uint32_t i = 0; i < window->sections_count && !window->is_hidden; i++) {
		struct model_section *section = &model->sections[window->sections[i]];
		section->is_open |= section->start_ns < from || section->start_ns >= to;
	}
	for (uint32_t i = 0; i < window->units_count; i++) {
		const struct model_unit *unit = &window->units[i];
		if (!model_unit_is_visible(unit) ||
		        !(unit->parts & ~unit->hidden & STORE_PART_DETAIL))
			continue;
		for (uint32_t j = 0; j < unit->shares_count; j++) {
			struct model_section *section = &model->sections[unit->shares[j].section];
			if (section->start_ns < from || section->start_ns >= to)
				section->open |= unit->shares[j].series;
		}
	}
}

/* Batches that go, each counted where it is finest. */
static uint64_t program_count_range(struct program *program, uint64_t from, uint64_t to)
{
	struct model *model = program->model;
	uint64_t batches = 0;
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX; i++) {
		const struct model_section *section = &model->sections[i];
		batches += section->is_there && section->is_open && section->start_ns >= from &&
		           section->start_ns < to;
	}
	for (uint32_t i = 0; i < model->windows_count; i++) {
		const struct model_window *window = model->windows[i];
		bool is_finest = true;
		for (uint32_t j = 0; j < window->sources_count; j++)
			is_finest &= !model_find(model, &window->sources[j]);
		if (!overlaps(window, from, to) || !is_finest)
			continue;
		bool is_cut = !is_within(window, from, to);
		batches += is_cut ? 0 : window->batches;
		for (uint32_t j = 0; j < window->sections_count && !window->is_hidden; j++) {
			const struct model_section *section = &model->sections[window->sections[j]];
			batches += is_cut && section->start_ns >= from && section->start_ns < to;
		}
	}
	return batches;
}

static void program_delete_range(struct program *program, uint64_t from, uint64_t to)
{
	struct model *model = program->model;
	uint64_t batches = 0;
	uint64_t expected = program_count_range(program, from, to);
	bool can = true;
	int r;
	for (uint32_t i = 0; i < model->windows_count; i++)
		if (overlaps(model->windows[i], from, to) &&
		        !is_within(model->windows[i], from, to))
			can &= program_can_cut(program, model->windows[i]);
	do {
		r = store_delete_range(program->store, from, to, &batches);
	} while (r != -ENODATA && program_must_again(program, r, FAIL_NOT));
	if (r == -ENODATA) {
		CHECK(!can);
		return;
	}
	assert_int_equal(batches, expected);
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX; i++) {
		struct model_section *section = &model->sections[i];
		if (section->start_ns < from || section->start_ns >= to)
			continue;
		section->is_open = false;
		section->open = 0;
	}
	for (uint32_t i = model->windows_count; i > 0; i--) {
		struct model_window *window = model->windows[i - 1];
		if (!overlaps(window, from, to))
			continue;
		if (window->name.level == 0 && !is_within(window, from, to))
			program_reopen(program, window, from, to);
		model_remove(model, window);
	}
}

static void program_delete(struct program *program)
{
	uint64_t from = program_now(program) - rng_below(&program->rng, 900) * SECOND;
	program_delete_range(program, from, from + (1 + rng_below(&program->rng, 60)) * SECOND);
}

/* Deletion on request: a service, or an instance of all. */
static void program_forget(struct program *program)
{
	struct model *model = program->model;
	struct rng *rng = &program->rng;
	bool is_service = rng_below(rng, 2);
	uint32_t number = (uint32_t)rng_below(rng, is_service ? MODEL_SERVICES : MODEL_INSTANCES);
	uint32_t gone = is_service ? model_series_of_service(number)
	                           : model_series_of_instance(number);
	char text[64];
	char error[64];
	AUTO(selector) selector = NULL;
	struct store_forgotten forgotten = { 0 };
	snprintf(text, sizeof(text), "{instance=\"%s\"}", instances[is_service ? 0 : number]);
	CHECK_OK(selector_parse(text, &selector, error, sizeof(error)));
	snprintf(text, sizeof(text), "service%u", number);
	uint64_t from = program_now(program) - rng_below(rng, 900) * SECOND;
	from -= from % (60 * SECOND);
	struct store_forget_options options = {
		.tenant = "",
		.service = is_service ? text : NULL,
		.selector = is_service ? NULL : selector,
		.from_ns = from,
		.to_ns = from + (1 + rng_below(rng, 8)) * 60 * SECOND,
	};
	for (uint32_t i = 0; i < model->windows_count; i++)
		model->windows[i]->can_make_again = model_can_make_again(
		        model, model->windows[i], NULL);
	int r;
	do {
		r = store_forget(program->store, &options, &forgotten);
	} while (program_must_again(program, r, FAIL_NOT));
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX; i++) {
		struct model_section *section = &model->sections[i];
		if (section->start_ns >= options.from_ns && section->start_ns < options.to_ns)
			section->open &= ~gone;
	}
	program->reached->forgotten++;
	program_look(program, 0, 0, true);
	for (uint32_t i = model->windows_count; i > 0; i--) {
		struct model_window *window = model->windows[i - 1];
		if (!is_within(window, options.from_ns, options.to_ns) ||
		        program_is_told(program, &window->name))
			continue;
		/* All of it went, or it can be made again. */
		for (uint32_t j = 0; j < window->units_count; j++)
			CHECK(window->can_make_again || window->units[j].is_gone ||
			        !(model_unit_series(&window->units[j]) & ~gone));
		model_remove(model, window);
	}
	uint64_t mixed = 0;
	for (uint32_t i = 0; i < model->windows_count; i++) {
		struct model_window *window = model->windows[i];
		if (!is_within(window, options.from_ns, options.to_ns))
			continue;
		program_settle_parted(program, window, gone);
		for (uint32_t j = 0; j < window->units_count; j++)
			mixed += model_unit_is_visible(&window->units[j]) &&
			         (model_unit_series(&window->units[j]) & gone);
	}
	CHECK(mixed == 0 || forgotten.units_mixed > 0);
	CHECK(!is_service || forgotten.units_mixed == 0);
	model_settle_hidden(model);
}

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
		value[read_series(dict, batch->rows[i].series)]
		     [read_node(dict, batch->rows[i].node)] -= batch->rows[i].value;
	for (uint32_t i = 0; i < batch->coverage_count; i++)
		coverage_ns[read_series(dict, batch->coverage[i].series)] += batch->coverage[i].ns;
	for (uint32_t i = 0; i < batch->losses_count; i++)
		if (batch->losses[i].series == SERIES_NONE)
			lost_of_none += batch->losses[i].count;
		else if (batch->losses[i].reason == LOSS_FOLDED)
			folded[read_series(dict, batch->losses[i].series)] +=
			        batch->losses[i].count;
		else
			lost[read_series(dict, batch->losses[i].series)] += batch->losses[i].count;
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
		                      : by == BY_VERSION ? version_of(s)
		                      : by == BY_REGION  ? region_of(s)
		                      : by == BY_BUCKET  ? bucket_of(s)
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
			answer->value[row->group][read_node(dict, row->node)] += row->value;
		}
		for (uint32_t i = 0; i < match->parts[part].series_count; i++)
			answer->coverage_ns[read_series(dict, match->parts[part].series[i])] +=
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
			series |= 1u << read_series(part->dict, part->series[j]);
		uint32_t known = model_known(program->model, part->generation);
		CHECK(!(question->wanted & known & ~series));
		/* A compact one may know of windows that could not move to it after all. */
		CHECK(series == (question->wanted & known) ||
		        part->generation >= MODEL_GENERATION_COMPACT);
	}
}

static void program_query(struct program *program)
{
	static struct model_answer expected;
	static struct model_answer answer;
	const char *text = selectors[rng_below(&program->rng, COUNT_OF(selectors))];
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
			groups[match->parts[i].first + j] = question.groups[read_series(
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
	};
	int r = store_sum(program->store, &options, &sum);
	if (r < 0) {
		store_read_error(program->store, error, sizeof(error));
		fail_msg("store_sum: %d: %s", r, error);
	}
	memset(&answer, 0, sizeof(answer));
	program_read(&sum, match, &answer);
	store_sum_fini(&sum);
	program_compare(program, &question, &answer, &expected);
	struct reached *reached = program->reached;
	if (answer.completeness.resolution_coarsest_ns > reached->coarsest_ns)
		reached->coarsest_ns = answer.completeness.resolution_coarsest_ns;
	reached->unanswerable += answer.completeness.windows_unanswerable;
	if (rng_below(&program->rng, 4) == 0)
		program_scan(program, &question, match);
	else if (question.from_ns < question.to_ns && rng_below(&program->rng, 8) == 0)
		store_steps_check(program->store, &program->rng, options);
}

/* ---- totals ---- */

static void program_check_totals(struct program *program)
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
static void program_collect(struct program *program)
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

static void program_restart(struct program *program)
{
	program_note_heads(program);
	store_free(program->store);
	if (rng_below(&program->rng, 8) == 0)
		program_verify(program);
	program_open(program);
	program_check_windows(program);
}

/* ---- steps ---- */

static void do_append(struct program *program)
{
	program_append(program, FAIL_NOT);
}

static void do_append_without_memory(struct program *program)
{
	program_append(program, FAIL_MEMORY);
}

static void do_append_without_disk(struct program *program)
{
	program_append(program, FAIL_DISK);
}

static void do_erase(struct program *program)
{
	struct model_run *run = program_pick_run(program);
	if (run)
		program_erase(program, run);
}

static void do_undo(struct program *program)
{
	struct model_run *run = program_pick_run(program);
	if (run)
		program_undo(program, run);
}

static void do_policy(struct program *program)
{
	program_make_policy(program, (uint32_t)rng_below(&program->rng, POLICIES));
}

/* Of a thousand. */
static const struct {
	const char *name;
	void (*run)(struct program *program);
	uint32_t often;
} steps[] = {
	{ "append", do_append, 330 },
	{ "append, no memory", do_append_without_memory, 25 },
	{ "append, no disk", do_append_without_disk, 3 },
	{ "seal", program_seal, 25 },
	{ "roll", program_roll, 25 },
	{ "retain", program_retain, 20 },
	{ "hide", program_hide_some, 12 },
	{ "erase", do_erase, 25 },
	{ "undo", do_undo, 8 },
	{ "hold", program_hold, 6 },
	{ "policy", do_policy, 3 },
	{ "part", program_part, 10 },
	{ "delete", program_delete, 6 },
	{ "forget", program_forget, 5 },
	{ "collect", program_collect, 8 },
	{ "flush", program_flush, 3 },
	{ "restart", program_restart, 6 },
	{ "totals", program_check_totals, 15 },
	{ "windows", program_check_windows, 7 },
	{ "sum heads", program_sum_heads, 80 },
	{ "query", program_query, 378 },
};

/* Room for another group of sections. */
static void program_make_room(struct program *program)
{
	struct model *model = program->model;
	uint32_t free_places = 0;
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX; i++)
		free_places += !model->sections[i].is_there;
	if (free_places >= GROUP_MAX)
		return;
	model_forget_sections(model, program_now(program) - 2 * LATE_MAX_S * SECOND);
	for (uint32_t i = free_places = 0; i < MODEL_SECTIONS_MAX; i++)
		free_places += !model->sections[i].is_there;
	if (free_places >= MODEL_SECTIONS_MAX / 8)
		return;
	program_delete_range(program, 0, UINT64_MAX);
	model_forget_sections(model, UINT64_MAX);
}

static void program_step(struct program *program)
{
	uint32_t dice = (uint32_t)rng_below(&program->rng, 1000);
	size_t step = 0;
	while (step + 1 < COUNT_OF(steps) && dice >= steps[step].often)
		dice -= steps[step++].often;
	clock_virtual_advance(&program->clock, (1 + rng_below(&program->rng, 12)) * SECOND);
	snprintf(program->at->doing, sizeof(program->at->doing), "%s", steps[step].name);
	program_make_room(program);
	steps[step].run(program);
	program->at->step++;
}

static uint64_t steps_count(void)
{
	const char *text = getenv("PROFLEET_STEPS");
	return text ? strtoull(text, NULL, 10) : ORACLE_STEPS;
}

static void program_init(struct program *program, uint64_t seed)
{
	rng_init(&program->rng, seed);
	clock_virtual_init(&program->clock, 1700000000 * SECOND);
	program->folds = rng_below(&program->rng, 4) == 0;
	program->model = model_new();
	program_open(program);
	program->all = source_new(program->store, 0);
	for (uint32_t s = 0; s < MODEL_SERIES; s++) {
		program->all_series[s] = make_series(&program->all, s);
		program->model->group_of_sums[s] =
		        ((version_of(s) * 2 + region_of(s)) * 16 + bucket_of(s)) * MODEL_PERIODS +
		        s % MODEL_PERIODS;
	}
	for (uint32_t i = 0; i < POLICIES; i++)
		program_make_policy(program, i);
}

static void program_run(uint64_t seed, struct position *at, struct reached *reached)
{
	TEST_DIR(dir);
	struct program *program = calloc(1, sizeof(*program));
	assert_non_null(program);
	*at = (struct position){ .seed = seed };
	program->dir = &dir;
	program->at = at;
	program->reached = reached;
	program_init(program, seed);
	while (at->step < steps_count())
		program_step(program);
	program_check_totals(program);
	program_check_windows(program);
	program_note_heads(program);
	source_free(&program->all);
	for (uint32_t i = 0; i < GROUP_MAX; i++)
		source_free(&program->sources[i]);
	store_free(program->store);
	model_free(program->model);
	free(program);
}

/* ---- workers ---- */

static void check_reached(const struct reached *reached)
{
	print_message("%" PRIu64 " windows, %" PRIu64 " rollups, coarsest answer %" PRIu64
	              " s, %" PRIu64 " generations at once; hidden %" PRIu64 " %" PRIu64 " %" PRIu64
	              ", erased %" PRIu64 " %" PRIu64 " %" PRIu64 " windows; %" PRIu64
	              " undone, %" PRIu64 " parted, %" PRIu64 " forgotten, %" PRIu64
	              " held, %" PRIu64 " moved; %" PRIu64 " answers with folded, %" PRIu64
	              " windows unanswerable\n",
	        reached->windows, reached->rollups, reached->coarsest_ns / SECOND,
	        reached->generations, reached->hidden[0], reached->hidden[1], reached->hidden[2],
	        reached->erased[0], reached->erased[1], reached->erased[2], reached->undone,
	        reached->parted, reached->forgotten, reached->held, reached->moved, reached->folded,
	        reached->unanswerable);
	CHECK(reached->windows > 0 && reached->rollups > 0 && reached->coarsest_ns > 60 * SECOND);
	CHECK(reached->generations > 3 && reached->undone > 0 && reached->parted > 0);
	print_message("sums of open windows: %" PRIu64 " made, %" PRIu64 " times used, %" PRIu64
	              " refused\n",
	        reached->heads_built, reached->heads_used, reached->heads_refused);
	CHECK(reached->heads_built > 0 && reached->heads_used > 0 && reached->heads_refused > 0);
	CHECK(reached->held > 0 && reached->folded > 0 && reached->unanswerable > 0);
	for (uint32_t level = 0; level < STORE_EXPIRE_LEVELS; level++)
		CHECK(reached->hidden[level] > 0 && reached->erased[level] > 0);
}

/* Seeds are taken one by one, so that no worker waits for the other at the end. */
static void work(struct shared *shared, uint32_t worker, uint64_t seeds)
{
	struct reached reached = { 0 };
	uint64_t seed;
	while ((seed = __atomic_add_fetch(&shared->next_seed, 1, __ATOMIC_RELAXED)) <= seeds)
		program_run(seed, &shared->workers[worker], &reached);
	if (seeds >= ENOUGH_SEEDS)
		check_reached(&reached);
}

static bool tell_end(const struct position *at, int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	print_error("a worker %s %d in seed %" PRIu64 ", step %" PRIu64 ": %s\n"
	            "again: PROFLEET_SEED=%" PRIu64 " PROFLEET_STEPS=%" PRIu64 "\n",
	        WIFSIGNALED(status) ? "was ended by signal" : "ended with",
	        WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), at->seed, at->step,
	        at->doing, at->seed, steps_count());
	return false;
}

/*
 * What a process has to say of its end goes through a pipe, and is said by the other: a file cannot
 * be written to while a full disk is played.
 */
static void tell_what_comes(int from)
{
	char text[4096];
	ssize_t count;
	while ((count = read(from, text, sizeof(text))) > 0)
		(void)fwrite(text, 1, (size_t)count, stderr);
	(void)fflush(stderr);
	close(from);
}

static void run_workers(struct shared *shared, uint64_t seeds)
{
	pid_t workers[WORKERS];
	int ends[2];
	bool is_well = true;
	CHECK_OK(pipe(ends));
	for (uint32_t worker = 0; worker < WORKERS; worker++) {
		(void)fflush(NULL);
		workers[worker] = fork();
		CHECK(workers[worker] >= 0);
		if (workers[worker] > 0)
			continue;
		close(ends[0]);
		CHECK(dup2(ends[1], STDERR_FILENO) >= 0 && dup2(ends[1], STDOUT_FILENO) >= 0);
		work(shared, worker, seeds);
		(void)fflush(NULL);
		_exit(0);
	}
	close(ends[1]);
	tell_what_comes(ends[0]);
	for (uint32_t worker = 0; worker < WORKERS; worker++) {
		int status;
		assert_int_equal(waitpid(workers[worker], &status, 0), workers[worker]);
		is_well &= tell_end(&shared->workers[worker], status);
	}
	CHECK(is_well);
}

static void random_programs_agree_with_the_model(void **state)
{
	const char *one = getenv("PROFLEET_SEED");
	const char *count = getenv("PROFLEET_SEEDS");
	struct reached reached = { 0 };
	struct shared *shared = mmap(
	        NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	name_instances();
	/* Nothing of the database has begun yet, so a child is a process like this one. */
	if (one)
		program_run(strtoull(one, NULL, 10), &shared->workers[0], &reached);
	else
		run_workers(shared, count ? strtoull(count, NULL, 10) : ORACLE_SEEDS);
	munmap(shared, sizeof(*shared));
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
