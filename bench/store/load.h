#pragma once

/*
 * load puts rows into a store as an aggregator does: synced groups of what many senders sent, and
 * each window sealed half a minute after its end, hours and days rolled up. What it costs is the
 * CPU of the whole process, the database's threads too, less what building the batches took.
 */

#include <pthread.h>

#include "bench/store/rows.h"
#include "bench/store/say.h"
#include "storage/store.h"

#define LOAD_WINDOW_NS UINT64_C(600000000000)

struct load {
	const struct rows *rows;
	struct store *store;
	struct dict_remap **remaps; /* by session */
	struct batch **batches;     /* of a group */
	uint64_t *seqs;             /* by session and service */
	uint32_t services;
};

/*
 * A store in a folder of its own. It lives by the time of what is appended, so that a month of rows
 * is a month to it.
 */
struct store *load_open(const char *folder, uint64_t block_cache_bytes);

void load_init(struct load *load, const struct rows *rows, struct store *store);
void load_fini(struct load *load);
/* As if every sender had connected anew: what it says has to be looked up again. */
void load_begin_sessions(struct load *load);

struct load_figures {
	double append_cpu_s, append_wall_s;
	double seal_cpu_s, seal_wall_s;
	double roll_cpu_s;
	double all_cpu_s; /* of all but the making of batches, and of rollups */
	struct say_written written;
	uint64_t rows;
	uint32_t nodes_new;
};

/* All rows, moved in time, sealed, rolled up and flushed at the end. */
struct load_figures load_run(struct load *load, uint64_t shift_ns);

/* The function tables of the fleet's files, as agents upload them. */
void load_symbols(struct load *load);

/*
 * For measurements beside it: appends at that rate until told to stop; what it appends is moved in
 * time, hour behind hour.
 */
struct load_pace {
	struct load *load;
	uint64_t shift_ns;
	double rows_per_s;
	bool is_stopping; /* atomic */
	double *ms;       /* of each group's append */
	uint32_t count, capacity;
	uint64_t rows;
	double seconds;
	pthread_t thread;
};
void load_pace_start(struct load_pace *pace);
void load_pace_stop(struct load_pace *pace);
