/*
 * Makes a store that has many small windows: for administration over a large inventory, which no
 * fleet makes in a day. Prints how long it took, and judges nothing:
 *
 *	cmake --build build/release --target bench.inventory
 *	build/release/bin/bench.inventory /dev/shm/large 50000 50
 *
 * Then an aggregator on that folder is asked with the command line; VmHWM in its
 * /proc/PID/status is what it took. Windows are of ten minutes, the last one ended an hour ago.
 * Each has a unit for each service, of two instances with three rows each.
 *
 * A window is two files, and RocksDB goes over its list of files several times for each it takes,
 * so that filling costs the square of the windows: 5,000 of 50 services took 36 s, 12,000 took
 * 290 s, on two cores that others used too; in such a profile nine tenths are that list. A store
 * that lives takes one window in ten minutes.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "profile/batch.h"
#include "storage/store.h"

#define WINDOW_NS  (600 * NS_PER_S)
#define SEAL_EVERY 500 /* windows */

enum { INSTANCES = 2, ROWS = 3, SERVICES_MAX = 1000 };

struct filling {
	struct store *store;
	struct dict *dict;
	struct dict_remap *remap;
	struct batch *batch;
	uint32_t services;
	uint32_t series[SERVICES_MAX * INSTANCES];
	uint32_t stacks[ROWS];
};

static void must(int result, const char *doing)
{
	if (result >= 0)
		return;
	fprintf(stderr, "inventory: %s: %s\n", doing, strerror(-result));
	exit(1);
}

static uint32_t filling_string(struct filling *filling, const char *text)
{
	uint32_t id = 0;
	must(dict_cstring(filling->dict, text, &id), "a string");
	return id;
}

static void filling_name(struct filling *filling)
{
	struct series series = { .type = filling_string(filling, "cpu"),
		.unit = filling_string(filling, "nanoseconds"),
		.period = 1 };
	for (uint32_t i = 0; i < filling->services * INSTANCES; i++) {
		char service[32], instance[32];
		snprintf(service, sizeof(service), "service-%u", i / INSTANCES);
		snprintf(instance, sizeof(instance), "i-%u", i);
		struct label labels[] = {
			{ filling_string(filling, "service"), filling_string(filling, service) },
			{ filling_string(filling, "instance"), filling_string(filling, instance) }
		};
		must(dict_series(
		             filling->dict, &series, labels, COUNT_OF(labels), &filling->series[i]),
		        "a series");
	}
	for (uint32_t i = 0; i < ROWS; i++) {
		char function[32];
		uint32_t frame = 0;
		snprintf(function, sizeof(function), "f%u", i);
		struct frame leaf = { .kind = FRAME_MANAGED,
			.function = filling_string(filling, function) };
		must(dict_frame(filling->dict, &leaf, &frame), "a frame");
		must(dict_stack(filling->dict, &frame, 1, &filling->stacks[i]), "a stack");
	}
}

static void filling_append(struct filling *filling, uint64_t start_ns, uint64_t seq)
{
	struct store_append append = { .batch = filling->batch, .remap = filling->remap };
	batch_reset(filling->batch);
	filling->batch->start_ns = start_ns;
	filling->batch->duration_ns = 10 * NS_PER_S;
	for (uint32_t i = 0; i < filling->services * INSTANCES; i++)
		for (uint32_t j = 0; j < ROWS; j++)
			must(batch_add_row(filling->batch, filling->series[i], filling->stacks[j],
			             1 + (seq + i * j) % 97),
			        "a row");
	must(batch_settle(filling->batch), "a batch");
	append.stream = (struct store_stream){
		.uuid = { .bytes = { 1 } }, .epoch = 1, .tenant = "", .seq = seq
	};
	must(store_append(filling->store, &append, 1), "appending");
	if (append.ret_status != 0)
		must(-EINVAL, "an append was refused");
}

int main(int argc, char **argv)
{
	struct filling filling = { .services = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10)
		                                        : 0 };
	uint32_t windows = argc > 3 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
	struct clock_virtual clock;
	char error[512] = "";
	if (windows == 0 || filling.services == 0 || filling.services > SERVICES_MAX) {
		fprintf(stderr, "usage: bench.inventory DIR WINDOWS SERVICES (1 to %d)\n",
		        SERVICES_MAX);
		return 2;
	}
	uint64_t now_ns = clock_unix_ns(clock_real()) / WINDOW_NS * WINDOW_NS - 6 * WINDOW_NS;
	uint64_t start_ns = now_ns - windows * WINDOW_NS;
	clock_virtual_init(&clock, start_ns);
	struct store_options options = { .path = argv[1],
		.limits = dict_limits_default,
		.clock = &clock.clock,
		.block_cache_bytes = 64u << 20,
		.symbols_cache_bytes = 1u << 20 };
	if (store_open(options, &filling.store, error, sizeof(error)) < 0) {
		fprintf(stderr, "inventory: %s: %s\n", argv[1], error);
		return 1;
	}
	filling.dict = dict_new(dict_limits_default);
	filling.batch = filling.dict ? batch_new(filling.dict) : NULL;
	filling.remap = filling.dict ? dict_remap_new(filling.dict, NULL) : NULL;
	if (!filling.batch || !filling.remap)
		must(-ENOMEM, "starting");
	filling_name(&filling);
	uint64_t began_ns = clock_monotonic_ns(clock_real());
	for (uint32_t i = 0; i < windows; i++) {
		filling_append(&filling, start_ns + i * WINDOW_NS, i + 1);
		clock_virtual_advance(&clock, WINDOW_NS);
		if ((i + 1) % SEAL_EVERY != 0 && i + 1 < windows)
			continue;
		must(store_seal(filling.store, clock_unix_ns(&clock.clock)), "sealing");
		printf("%u windows, %.1f s\n", i + 1,
		        (double)(clock_monotonic_ns(clock_real()) - began_ns) / 1e9);
		fflush(stdout);
	}
	dict_remap_free(filling.remap);
	batch_free(filling.batch);
	dict_free(filling.dict);
	store_free(filling.store);
	return 0;
}
