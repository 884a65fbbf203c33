/*
 * Where a random program stands: names, opening, failures that are meant, what the store says it
 * has. See oracle_program.h.
 */

#include "tests/unit/storage/oracle_program.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/hash.h"
#include "storage/store_verify.h"
#include "tests/lib/fault.h"

/* Two of one bucket that are told apart by nothing that sums keep. */
static char instances[MODEL_INSTANCES][24];

void oracle_name_instances(uint64_t seed)
{
	uint64_t bucket[MODEL_INSTANCES];
	uint32_t named = 0;
	for (uint64_t i = seed * 1000; named < MODEL_INSTANCES; i++) {
		snprintf(instances[named], sizeof(instances[named]), "pod-%" PRIu64, i);
		bucket[named] = hash64_bytes(instances[named], strlen(instances[named])) % 16;
		named += named != 3 || bucket[3] == bucket[0];
	}
}

const char *oracle_instance(uint32_t instance)
{
	return instances[instance];
}

uint32_t oracle_version_of(uint32_t series)
{
	return model_instance(series) == 1;
}

uint32_t oracle_region_of(uint32_t series)
{
	return model_instance(series) == 2;
}

uint32_t oracle_bucket_of(uint32_t series)
{
	const char *name = instances[model_instance(series)];
	return (uint32_t)(hash64_bytes(name, strlen(name)) % 16);
}

uint64_t program_now(struct program *program)
{
	return clock_unix_ns(&program->clock.clock);
}

/* ---- names in the store's words ---- */

uint32_t oracle_make_series(struct source *source, uint32_t series)
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
		        source_string(source, oracle_version_of(series) ? "v2" : "v1") },
		{ source_string(source, "region"),
		        source_string(source, oracle_region_of(series) ? "r2" : "r1") },
	};
	uint32_t id;
	CHECK_OK(dict_series(source->dict, &of, labels, COUNT_OF(labels), &id));
	return id;
}

/* main calls a module, and that the function. */
uint32_t oracle_make_stack(struct source *source, uint32_t function)
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
uint32_t oracle_read_series(const struct dict *dict, uint32_t id)
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

uint32_t oracle_read_node(const struct dict *dict, uint32_t node)
{
	struct frame frame = dict_get_frame(dict, dict_get_node(dict, node).frame);
	const char *name = dict_text(dict, frame.function);
	uint32_t number = (uint32_t)strtoul(name + 1, NULL, 10);
	return name[0] == 'f'   ? number
	       : name[0] == 'g' ? MODEL_FUNCTIONS + number
	                        : MODEL_FUNCTIONS + MODEL_MODULES;
}

/* ---- opening ---- */

uint32_t oracle_class_of(uint32_t series, uint32_t divisor)
{
	return divisor ? model_instance(series) / divisor : 0;
}

uint32_t oracle_classify(void *owner, const char *tenant, const struct dict *dict, uint32_t series)
{
	return oracle_class_of(oracle_read_series(dict, series), *(const uint32_t *)owner);
}

void program_open(struct program *program)
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
	/* Every batch, a few of them, or all that are open in one visit to the gate. */
	options.stretch_bytes = (uint64_t[]){ 1, 500, 0 }[program->at->step % 3];
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
		store_set_classify(program->store, oracle_classify, &program->divisor);
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
void program_verify(struct program *program)
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

enum failure program_fail(struct program *program, enum failure failure, uint32_t within)
{
	if (failure == FAIL_MEMORY)
		fault_arm(FAULT_ALLOC, (uint32_t)rng_below(&program->rng, within), ENOMEM);
	/* No file has a block, or one, or two. */
	if (failure == FAIL_DISK)
		fault_limit_files(rng_below(&program->rng, 3) * 4096);
	return failure;
}

/* One in eight. */
enum failure program_may_fail(struct program *program, uint32_t within)
{
	uint64_t dice = rng_below(&program->rng, 16);
	return program_fail(program,
	        dice == 0   ? FAIL_DISK
	        : dice == 1 ? FAIL_MEMORY
	                    : FAIL_NOT,
	        within);
}

void program_mend(struct program *program, enum failure failure)
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
bool program_must_again(struct program *program, int result, enum failure failure)
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
		told->series |= 1u << oracle_read_series(unit->dict, unit->series[i]);
	return 0;
}

void program_look(struct program *program, uint64_t from_ns, uint64_t to_ns, bool at_series)
{
	struct store_inventory_options options = {
		.from_ns = from_ns,
		.to_ns = to_ns,
		.wants_series = at_series,
	};
	program->told_count = 0;
	CHECK_OK(store_inventory(program->store, options, take_told, program));
}

const struct told *program_find_told(
        struct program *program, const struct store_window_name *window, uint32_t unit)
{
	for (uint32_t i = 0; i < program->told_count; i++)
		if (program->told[i].unit == unit &&
		        model_is_same(&program->told[i].window, window))
			return &program->told[i];
	return NULL;
}

struct model_unit *program_add_told(struct model_window *window, const struct told *told)
{
	struct model_unit *unit = model_add_unit(window, told->unit);
	unit->class = told->class;
	unit->service = told->service;
	unit->parts = told->parts;
	unit->rows = told->rows;
	return unit;
}

bool program_is_told(struct program *program, const struct store_window_name *window)
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

void program_check_windows(struct program *program)
{
	uint32_t count = 0;
	program_look(program, 0, 0, true);
	for (uint32_t i = 0; i < program->model->windows_count; i++)
		count += program_check_window(program, program->model->windows[i]);
	assert_int_equal(count, program->told_count);
}
