/*
 * A report is a function of (seed, slot, life, tick) and of nothing else: its randomness is seeded
 * by these, so that reports can be asked for in any order of slots. A slot is a place for one
 * instance of one service; its instance lives for a time drawn from an exponential distribution or
 * until the rollout reaches the slot, and another one takes its place.
 *
 *	samples of a report = load of the instance x time of day x noise
 *	samples of a handler = Zipf's share x the instance's own factor x the handler's oscillation
 *
 * and each sample is a draw from the handler's pool, or a fresh walk.
 */

#include "bench/fleet.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "bench/fleet_number.h"
#include "profile/symbols.h"

#define FLEET_NS_PER_H        (UINT64_C(3600) * 1000000000)
#define FLEET_POOL_DRAWS      260000
#define FLEET_REGIONS         4
#define FLEET_ZONES           3
#define FLEET_SLOTS_PER_HOST  6
#define FLEET_ROLLOUT_NS      (UINT64_C(600) * 1000000000)
#define FLEET_DAY_TICKS       8640 /* the day begins with the fleet, so that rows do not depend on it */
#define FLEET_SAMPLES_PER_ROW 76000 /* in 1/65536 */
#define FLEET_SAMPLES_MAX     65536
#define FLEET_SIGMA_LOAD      16000 /* of ln, in 1/65536: 0.24 */
#define FLEET_SIGMA_MIX       23000 /* 0.35 */
#define FLEET_OBSERVER_PAGE   1024
#define FLEET_OBSERVER_CACHE  16384
#define FLEET_LINE_BYTES      16

struct fleet_slot {
	struct fleet_instance instance;
	uint64_t rollout_tick;
	uint64_t load; /* in 1/65536 */
	uint64_t mix[FLEET_HANDLERS];
	struct fleet_pool pools[FLEET_HANDLERS];
	bool lives;
};

struct fleet {
	struct fleet_options options;
	struct fleet_tree *tree;
	struct fleet_slot *slots;
	uint64_t ticks;
	uint64_t next_tick;
	uint32_t next_slot;
	uint32_t instances_met;
	uint32_t samples[FLEET_SAMPLES_MAX];
};

int fleet_options_named(const char *set, struct fleet_options *ret_options)
{
	static const struct {
		const char *name;
		struct fleet_options options;
	} sets[] = {
		{ "A", { .seed = 1,
		               .services = 12,
		               .instances = 298,
		               .rows = 330,
		               .duration_ns = FLEET_NS_PER_H,
		               .start_ns = FLEET_START_NS,
		               .life_ns = 2 * FLEET_NS_PER_H,
		               .changed_percent = 25,
		               .fresh_permille = 9 } },
		{ "B", { .seed = 2,
		               .services = 3,
		               .instances = 15,
		               .rows = 285,
		               .duration_ns = 24 * FLEET_NS_PER_H,
		               .start_ns = FLEET_START_NS,
		               .life_ns = 24 * FLEET_NS_PER_H,
		               .changed_percent = 25,
		               .fresh_permille = 10 } },
		{ "H", { .seed = 3,
		               .services = 6,
		               .instances = 100,
		               .rows = 335,
		               .duration_ns = FLEET_NS_PER_H,
		               .start_ns = FLEET_START_NS,
		               .life_ns = 2 * FLEET_NS_PER_H,
		               .changed_percent = 25,
		               .fresh_permille = 120 } },
	};
	for (uint32_t i = 0; i < COUNT_OF(sets); i++) {
		if (strcmp(sets[i].name, set) == 0) {
			*ret_options = sets[i].options;
			return 0;
		}
	}
	return -ENOENT;
}

static void fleet_fill_options(struct fleet_options *options)
{
	struct fleet_options fallback;
	int r = fleet_options_named("A", &fallback);
	assert(r == 0);
	options->services = options->services ? options->services : fallback.services;
	options->instances = options->instances ? options->instances : fallback.instances;
	options->rows = options->rows ? options->rows : fallback.rows;
	options->duration_ns = options->duration_ns ? options->duration_ns : fallback.duration_ns;
	options->start_ns = options->start_ns ? options->start_ns : fallback.start_ns;
	options->pool_draws = options->pool_draws ? options->pool_draws : FLEET_POOL_DRAWS;
	options->life_ns = options->life_ns ? options->life_ns : fallback.life_ns;
	if (options->instances < options->services)
		options->instances = options->services;
}

/* Slots lie service by service; each service has one, the rest is shared out by Zipf's law. */
static void fleet_share_slots(struct fleet *fleet)
{
	uint32_t services = fleet->options.services;
	uint32_t spare = fleet->options.instances - services;
	uint64_t sum = 0, share = 0;
	uint32_t slot = 0;
	for (uint32_t service = 0; service < services; service++)
		sum += 1000000 / (service + 1);
	for (uint32_t service = 0; service < services; service++) {
		share += 1000000 / (service + 1);
		uint32_t end = service + 1 + (uint32_t)(share * spare / sum);
		for (; slot < end; slot++)
			fleet->slots[slot].instance.service = service;
	}
}

struct fleet *fleet_new(struct fleet_options options)
{
	fleet_fill_options(&options);
	AUTO(fleet) fleet = calloc(1, sizeof(*fleet));
	if (!fleet)
		return NULL;
	fleet->options = options;
	fleet->ticks = options.duration_ns / FLEET_REPORT_NS;
	fleet->slots = calloc(options.instances, sizeof(*fleet->slots));
	fleet->tree = fleet_tree_new((struct fleet_tree_options){
	        .seed = options.seed,
	        .services = options.services,
	        .changed_percent = options.changed_percent,
	        .pool_draws = options.pool_draws,
	});
	if (!fleet->slots || !fleet->tree)
		return NULL;
	fleet_share_slots(fleet);
	for (uint32_t i = 0; i < options.instances; i++) {
		struct rng rng;
		rng_init(&rng, fleet_mix(options.seed ^ 2, i));
		uint64_t rollout = FLEET_ROLLOUT_NS < options.duration_ns / 4
		                           ? FLEET_ROLLOUT_NS
		                           : options.duration_ns / 4;
		fleet->slots[i].instance.slot = i;
		fleet->slots[i].rollout_tick =
		        (options.duration_ns / 2 + rng_below(&rng, rollout + 1)) / FLEET_REPORT_NS;
	}
	return TAKE(fleet);
}

void fleet_free(struct fleet *fleet)
{
	if (!fleet)
		return;
	fleet_tree_free(fleet->tree);
	free(fleet->slots);
	free(fleet);
}

const struct fleet_tree *fleet_tree_of(const struct fleet *fleet)
{
	return fleet->tree;
}

uint64_t fleet_ticks(const struct fleet *fleet)
{
	return fleet->ticks;
}

uint32_t fleet_slots(const struct fleet *fleet)
{
	return fleet->options.instances;
}

uint32_t fleet_series(const struct fleet *fleet)
{
	return fleet->instances_met;
}

/* The next instance of a slot begins to live. */
static int fleet_slot_begin(struct fleet *fleet, struct fleet_slot *slot, uint64_t tick)
{
	const struct fleet_options *options = &fleet->options;
	struct fleet_instance *instance = &slot->instance;
	instance->number += slot->lives;
	slot->lives = true;
	fleet->instances_met++;

	struct rng rng;
	rng_init(&rng, fleet_mix(fleet_mix(options->seed ^ 3, instance->slot), instance->number));
	uint64_t life = fleet_exponential(&rng, options->life_ns / FLEET_REPORT_NS) + 1;
	instance->ends_tick = tick + life;
	instance->version = tick >= slot->rollout_tick;
	if (!instance->version && instance->ends_tick > slot->rollout_tick)
		instance->ends_tick = slot->rollout_tick;
	uint32_t hosts = options->instances / FLEET_SLOTS_PER_HOST + 1;
	instance->host = (uint32_t)rng_below(&rng, hosts);
	instance->region = instance->host % FLEET_REGIONS;
	instance->zone = instance->host / FLEET_REGIONS % FLEET_ZONES;
	char service[32];
	fleet_service_name(instance->service, service);
	snprintf(instance->name, sizeof(instance->name), "%s-%u-%u-%05x", service, instance->slot,
	        instance->number, (uint32_t)(rng_u64(&rng) >> 44));
	slot->load = fleet_log_normal(&rng, FLEET_SIGMA_LOAD);
	for (uint32_t i = 0; i < FLEET_HANDLERS; i++) {
		slot->mix[i] = fleet_log_normal(&rng, FLEET_SIGMA_MIX);
		int r = fleet_tree_pool(
		        fleet->tree, instance->service, instance->version, i, &slot->pools[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A wave of that period between -65536 and 65536, near enough to a sine: two parabolas. */
static int64_t fleet_wave(uint64_t at, uint64_t period)
{
	int64_t x = (int64_t)(at % period * 131072 / period) - 65536; /* -1 to 1 */
	int64_t size = x < 0 ? -x : x;
	return 4 * x * (65536 - size) / 65536;
}

const char *const fleet_label_names[FLEET_LABELS] = { "host", "instance", "region", "service",
	"version", "zone" };

struct fleet_labels fleet_labels_of(const struct fleet_instance *instance)
{
	static const char *const regions[FLEET_REGIONS] = { "eu-north", "eu-west", "us-east",
		"ap-south" };
	struct fleet_labels labels;
	const char *region = regions[instance->region];
	snprintf(labels.values[0], sizeof(labels.values[0]), "host-%04u", instance->host);
	snprintf(labels.values[1], sizeof(labels.values[1]), "%s", instance->name);
	snprintf(labels.values[2], sizeof(labels.values[2]), "%s", region);
	fleet_service_name(instance->service, labels.values[3]);
	snprintf(labels.values[4], sizeof(labels.values[4]), "v%u", instance->version + 1);
	snprintf(labels.values[5], sizeof(labels.values[5]), "%s-%c", region,
	        (char)('a' + instance->zone));
	return labels;
}

static uint32_t fleet_samples_of(
        const struct fleet *fleet, const struct fleet_slot *slot, uint64_t tick, struct rng *rng)
{
	uint64_t samples = (uint64_t)fleet->options.rows * FLEET_SAMPLES_PER_ROW; /* in 1/65536 */
	samples = samples * slot->load >> 16;
	samples = samples * (uint64_t)(65536 + fleet_wave(tick, FLEET_DAY_TICKS) / 4) >> 16;
	samples = samples * fleet_tree_cost(fleet->tree, slot->instance.version) >> 16;
	samples = samples * fleet_log_normal(rng, 4000) >> 16;
	samples >>= 16;
	return samples > FLEET_SAMPLES_MAX ? FLEET_SAMPLES_MAX : (uint32_t)samples;
}

/* How many samples each handler has: the parts of a whole in their exact ratio, by chance where
 * it does not come out even. */
static void fleet_share_samples(const struct fleet_slot *slot, uint64_t tick, uint32_t samples,
        struct rng *rng, uint32_t ret_counts[static FLEET_HANDLERS])
{
	uint64_t weights[FLEET_HANDLERS];
	uint64_t sum = 0, done = 0, end = 0;
	for (uint32_t i = 0; i < FLEET_HANDLERS; i++) {
		uint64_t phase = fleet_mix(slot->instance.service, i);
		uint64_t period = 30 + phase % 330; /* 5 min to 1 h */
		uint64_t wave = (uint64_t)(65536 +
		                           fleet_wave(tick + (phase >> 32), period) * 3 / 10);
		weights[i] = (slot->mix[i] * wave >> 16) / (i + 1) + 1;
		sum += weights[i];
	}
	uint64_t offset = rng_below(rng, sum);
	for (uint32_t i = 0; i < FLEET_HANDLERS; i++) {
		done += weights[i];
		uint64_t next = (done * samples + offset) / sum;
		ret_counts[i] = (uint32_t)(next - end);
		end = next;
	}
}

int fleet_report(
        struct fleet *fleet, uint64_t tick, uint32_t slot_index, struct fleet_report *ret_report)
{
	assert(slot_index < fleet->options.instances);
	struct fleet_slot *slot = &fleet->slots[slot_index];
	while (!slot->lives || tick >= slot->instance.ends_tick) {
		int r = fleet_slot_begin(fleet, slot, slot->lives ? slot->instance.ends_tick : 0);
		if (r < 0)
			return r;
	}

	struct rng rng;
	rng_init(&rng, fleet_mix(fleet_mix(fleet_mix(fleet->options.seed ^ 4, slot_index),
	                                 slot->instance.number),
	                       tick));
	uint32_t samples = fleet_samples_of(fleet, slot, tick, &rng);
	uint32_t counts[FLEET_HANDLERS];
	fleet_share_samples(slot, tick, samples, &rng, counts);

	const struct fleet_instance *instance = &slot->instance;
	uint32_t fresh_below = fleet->options.fresh_permille * 65536 / 1000;
	uint32_t at = 0;
	for (uint32_t handler = 0; handler < FLEET_HANDLERS; handler++) {
		struct fleet_pool pool = slot->pools[handler];
		for (uint32_t i = 0; i < counts[handler]; i++, at++) {
			uint64_t draw = rng_u64(&rng);
			if ((draw & 0xffff) >= fresh_below) {
				fleet->samples[at] =
				        pool.nodes[fleet_below((uint32_t)(draw >> 32), pool.count)];
				continue;
			}
			int r = fleet_tree_fresh(fleet->tree, instance->service, instance->version,
			        handler, &rng, &fleet->samples[at]);
			if (r < 0)
				return r;
		}
	}
	*ret_report = (struct fleet_report){
		.start_ns = fleet->options.start_ns + tick * FLEET_REPORT_NS,
		.instance = *instance,
		.samples = fleet->samples,
		.samples_count = at,
	};
	return 0;
}

/*
 * The ids of nodes are kept in pages by the tree's numbers, whose neighbours are drawn together: a
 * page that no sample needs is never made. 0 is not yet known; the root is nobody's id but its own.
 */
struct fleet_observer {
	struct fleet *fleet;
	struct dict *dict;
	enum fleet_frames frames;
	uint32_t **pages;
	uint32_t pages_count;
	uint32_t *modules; /* id + 1 */
	struct {
		uint32_t instance; /* number in the slot, + 1 */
		uint32_t id;
	} * series; /* by slot */
	struct {
		struct fleet_code code;
		uint32_t id; /* + 1 */
	} cache[FLEET_OBSERVER_CACHE];
	uint32_t *ids; /* of the report at hand, and as much room to sort */
};

struct fleet_observer *fleet_observer_new(
        struct fleet *fleet, struct dict *dict, enum fleet_frames frames)
{
	AUTO(fleet_observer) observer = calloc(1, sizeof(*observer));
	if (!observer)
		return NULL;
	observer->fleet = fleet;
	observer->dict = dict;
	observer->frames = frames;
	observer->modules = calloc(fleet_tree_modules(fleet->tree), sizeof(*observer->modules));
	observer->series = calloc(fleet->options.instances, sizeof(*observer->series));
	observer->ids = calloc(2 * FLEET_SAMPLES_MAX, sizeof(*observer->ids));
	if (!observer->modules || !observer->series || !observer->ids)
		return NULL;
	return TAKE(observer);
}

void fleet_observer_reset(struct fleet_observer *observer)
{
	for (uint32_t i = 0; i < observer->pages_count; i++) {
		free(observer->pages[i]);
		observer->pages[i] = NULL;
	}
	memset(observer->cache, 0, sizeof(observer->cache));
	memset(observer->modules, 0,
	        fleet_tree_modules(observer->fleet->tree) * sizeof(*observer->modules));
	memset(observer->series, 0, observer->fleet->options.instances * sizeof(*observer->series));
}

void fleet_observer_free(struct fleet_observer *observer)
{
	if (!observer)
		return;
	for (uint32_t i = 0; i < observer->pages_count; i++)
		free(observer->pages[i]);
	free(observer->pages);
	free(observer->modules);
	free(observer->series);
	free(observer->ids);
	free(observer);
}

/* The place of a node's id, or NULL when out of memory. */
static uint32_t *observer_place(struct fleet_observer *observer, uint32_t node)
{
	uint32_t page = node / FLEET_OBSERVER_PAGE;
	if (page >= observer->pages_count) {
		uint32_t count = page * 3 / 2 + 64;
		uint32_t **pages = realloc(observer->pages, count * sizeof(*pages));
		if (!pages)
			return NULL;
		memset(pages + observer->pages_count, 0,
		        (count - observer->pages_count) * sizeof(*pages));
		observer->pages = pages;
		observer->pages_count = count;
	}
	if (!observer->pages[page])
		observer->pages[page] = calloc(FLEET_OBSERVER_PAGE, sizeof(uint32_t));
	return observer->pages[page] ? &observer->pages[page][node % FLEET_OBSERVER_PAGE] : NULL;
}

static int observer_module(struct fleet_observer *observer, uint32_t module, uint32_t *ret_id)
{
	if (!observer->modules[module]) {
		struct fleet_module of = fleet_tree_module(observer->fleet->tree, module);
		struct module its = { 0 };
		uint32_t id;
		int r = dict_cstring(observer->dict, of.name, &its.name);
		if (r == 0)
			r = dict_cstring(observer->dict, of.build_id, &its.build_id);
		if (r == 0)
			r = dict_module(observer->dict, &its, &id);
		if (r < 0)
			return r;
		observer->modules[module] = id + 1;
	}
	*ret_id = observer->modules[module] - 1;
	return 0;
}

static int observer_frame_make(
        struct fleet_observer *observer, const struct fleet_code *code, uint32_t *ret_id)
{
	const struct fleet_tree *tree = observer->fleet->tree;
	struct fleet_module of = fleet_tree_module(tree, code->module);
	char text[FLEET_NAME_BYTES_MAX];
	struct frame frame = { .kind = FRAME_NATIVE };
	int r = observer_module(observer, code->module, &frame.module);
	if (r < 0)
		return r;
	frame.address = of.base + (uint64_t)code->function * FLEET_FUNCTION_BYTES + code->offset;
	if (!of.build_id[0]) {
		frame.kind = FRAME_KERNEL;
		frame.address = 0;
	}
	if (frame.kind == FRAME_KERNEL || observer->frames == FLEET_NAMES) {
		fleet_tree_function_name(tree, code->module, code->function, text);
		r = dict_cstring(observer->dict, text, &frame.function);
	}
	if (r == 0 && observer->frames == FLEET_NAMES) {
		frame.kind = FRAME_MANAGED;
		frame.start_line = 1 + code->function % FLEET_FILE_FUNCTIONS * 40;
		frame.line = frame.start_line + code->offset / FLEET_LINE_BYTES;
		fleet_tree_file_name(tree, code->module, code->function, text);
		r = dict_cstring(observer->dict, text, &frame.file);
	}
	return r < 0 ? r : dict_frame(observer->dict, &frame, ret_id);
}

static int observer_frame(
        struct fleet_observer *observer, const struct fleet_code *code, uint32_t *ret_id)
{
	uint64_t hash = fleet_mix((uint64_t)code->module << 32 | code->function, code->offset);
	uint32_t at = (uint32_t)hash % FLEET_OBSERVER_CACHE;
	if (!observer->cache[at].id ||
	        memcmp(&observer->cache[at].code, code, sizeof(*code)) != 0) {
		uint32_t id;
		int r = observer_frame_make(observer, code, &id);
		if (r < 0)
			return r;
		observer->cache[at].code = *code;
		observer->cache[at].id = id + 1;
	}
	*ret_id = observer->cache[at].id - 1;
	return 0;
}

/* Callers first, down from the deepest one that is known. */
static int observer_node_make(struct fleet_observer *observer, uint32_t node)
{
	const struct fleet_tree *tree = observer->fleet->tree;
	uint32_t path[256];
	uint32_t depth = 0;
	uint32_t id = DICT_NODE_ROOT;
	while (node) {
		uint32_t *place = observer_place(observer, node);
		if (!place)
			return -ENOMEM;
		if (*place) {
			id = *place;
			break;
		}
		assert(depth < COUNT_OF(path));
		path[depth++] = node;
		node = fleet_tree_node(tree, node).parent;
	}
	while (depth--) {
		struct fleet_node of = fleet_tree_node(tree, path[depth]);
		uint32_t frame;
		int r = observer_frame(observer, &of.code, &frame);
		if (r == 0)
			r = dict_node(observer->dict, id, frame, &id);
		if (r < 0)
			return r;
		*observer_place(observer, path[depth]) = id;
	}
	return 0;
}

static int observer_node(struct fleet_observer *observer, uint32_t node, uint32_t *ret_id)
{
	uint32_t *place = observer_place(observer, node);
	if (!place)
		return -ENOMEM;
	if (!*place) {
		int r = observer_node_make(observer, node);
		if (r < 0)
			return r;
	}
	*ret_id = *place;
	return 0;
}

static int observer_label(
        struct dict *dict, const char *name, const char *value, struct label *ret_label)
{
	int r = dict_cstring(dict, name, &ret_label->name);
	return r < 0 ? r : dict_cstring(dict, value, &ret_label->value);
}

static int observer_series(
        struct fleet_observer *observer, const struct fleet_instance *instance, uint32_t *ret_id)
{
	if (observer->series[instance->slot].instance != instance->number + 1) {
		struct dict *dict = observer->dict;
		struct fleet_labels labels = fleet_labels_of(instance);
		struct label its[FLEET_LABELS];
		struct series series = { .period = FLEET_PERIOD_NS };
		uint32_t id;
		int r = dict_cstring(dict, "cpu", &series.type);
		if (r == 0)
			r = dict_cstring(dict, "nanoseconds", &series.unit);
		for (uint32_t i = 0; i < FLEET_LABELS && r == 0; i++)
			r = observer_label(dict, fleet_label_names[i], labels.values[i], &its[i]);
		if (r == 0)
			r = dict_series(dict, &series, its, FLEET_LABELS, &id);
		if (r < 0)
			return r;
		observer->series[instance->slot].instance = instance->number + 1;
		observer->series[instance->slot].id = id;
	}
	*ret_id = observer->series[instance->slot].id;
	return 0;
}

/* Sorts by radix; the ids end up in the first half again after an even number of passes. */
static void observer_sort(uint32_t *ids, uint32_t count, uint32_t greatest)
{
	uint32_t *from = ids;
	uint32_t *to = ids + FLEET_SAMPLES_MAX;
	for (uint32_t shift = 0; shift < 32 && (greatest >> shift || shift % 16); shift += 8) {
		uint32_t ends[256] = { 0 };
		uint32_t sum = 0;
		for (uint32_t i = 0; i < count; i++)
			ends[from[i] >> shift & 0xff]++;
		for (uint32_t i = 0; i < 256; i++) {
			uint32_t here = ends[i];
			ends[i] = sum;
			sum += here;
		}
		for (uint32_t i = 0; i < count; i++)
			to[ends[from[i] >> shift & 0xff]++] = from[i];
		uint32_t *other = from;
		from = to;
		to = other;
	}
}

int fleet_observer_put(
        struct fleet_observer *observer, const struct fleet_report *report, struct batch *batch)
{
	uint32_t series;
	uint32_t greatest = 0;
	int r = observer_series(observer, &report->instance, &series);
	for (uint32_t i = 0; i < report->samples_count && r == 0; i++) {
		r = observer_node(observer, report->samples[i], &observer->ids[i]);
		if (observer->ids[i] > greatest)
			greatest = observer->ids[i];
	}
	if (r < 0)
		return r;
	observer_sort(observer->ids, report->samples_count, greatest);
	for (uint32_t i = 0; i < report->samples_count && r == 0;) {
		uint32_t first = i;
		while (i < report->samples_count && observer->ids[i] == observer->ids[first])
			i++;
		r = batch_add_row(batch, series, observer->ids[first], i - first);
	}
	if (r == 0)
		r = batch_add_coverage(batch, series, FLEET_REPORT_NS);
	if (batch->duration_ns == 0) {
		batch->start_ns = report->start_ns;
		batch->duration_ns = FLEET_REPORT_NS;
	}
	return r;
}

int fleet_next_report(struct fleet *fleet, struct fleet_observer *observer, struct batch *batch)
{
	struct fleet_report report;
	if (fleet->next_tick == fleet->ticks)
		return 0;
	batch_reset(batch);
	int r = fleet_report(fleet, fleet->next_tick, fleet->next_slot, &report);
	if (r == 0)
		r = fleet_observer_put(observer, &report, batch);
	if (r == 0)
		r = batch_settle(batch);
	if (r < 0)
		return r;
	if (++fleet->next_slot == fleet->options.instances) {
		fleet->next_slot = 0;
		fleet->next_tick++;
	}
	return 1;
}

int fleet_symbols(const struct fleet *fleet, const char *build_id, size_t count, struct buf *to)
{
	for (uint32_t i = 0; i < fleet_tree_modules(fleet->tree); i++) {
		struct fleet_module of = fleet_tree_module(fleet->tree, i);
		if (count == 0 || strlen(of.build_id) != count ||
		        memcmp(of.build_id, build_id, count) != 0)
			continue;
		AUTO(symbols_builder) builder = symbols_builder_new();
		if (!builder)
			return -ENOMEM;
		for (uint32_t function = 0; function < of.functions; function++) {
			char name[FLEET_NAME_BYTES_MAX];
			fleet_tree_function_name(fleet->tree, i, function, name);
			int r = symbols_builder_add(builder,
			        of.base + (uint64_t)function * FLEET_FUNCTION_BYTES,
			        FLEET_FUNCTION_BYTES, name, strlen(name));
			if (r < 0)
				return r;
		}
		return symbols_builder_finish(builder, to);
	}
	return -ENOENT;
}
