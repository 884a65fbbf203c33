#pragma once

/*
 * oracle_program is a random program that runs on a store and a model of it side by side: what the
 * programs of store_oracle_test.c stand on, and the steps that they are made of.
 *
 *	oracle_program.c    names, opening, failures that are meant, the store's inventory
 *	oracle_windows.c    appending, sealing, sums of what is open, rolling up
 *	oracle_removal.c    hiding, erasing, undoing, policies, holds, parting, deleting, forgetting
 *	oracle_questions.c  questions and totals, collecting, restarting
 *
 * A step does something to both, or asks both, and fails the test where they differ.
 */

#include "core/rng.h"
#include "storage/store_expire.h"
#include "tests/unit/storage/oracle_model.h"
#include "tests/unit/storage/store_fixture.h"

#define GROUP_MAX  4
#define TOLD_MAX   8192
#define POLICIES   3
#define HOLDS      2
#define LATE_MAX_S 600
#define TIERS      4 /* detail, and sums of each level */

/* A line of the store's inventory. */
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

/* ---- names in the store's words ---- */

/* Before a program: other names for each seed, so that there are some of every bucket. */
void oracle_name_instances(uint64_t seed);
const char *oracle_instance(uint32_t instance);
uint32_t oracle_version_of(uint32_t series);
uint32_t oracle_region_of(uint32_t series);
uint32_t oracle_bucket_of(uint32_t series);
uint32_t oracle_make_series(struct source *source, uint32_t series);
uint32_t oracle_make_stack(struct source *source, uint32_t function);
/* Which of the model one of the store is. */
uint32_t oracle_read_series(const struct dict *dict, uint32_t id);
uint32_t oracle_read_node(const struct dict *dict, uint32_t node);
/* By instance; 0: all are of one. */
uint32_t oracle_class_of(uint32_t series, uint32_t divisor);
/* As store_set_classify() wants it. */
uint32_t oracle_classify(void *owner, const char *tenant, const struct dict *dict, uint32_t series);

/* ---- opening ---- */

uint64_t program_now(struct program *program);
/* With windows of other lengths each time. */
void program_open(struct program *program);
/* Every reference and checksum of the folder. */
void program_verify(struct program *program);

/* ---- failures that are meant ---- */

enum failure { FAIL_NOT, FAIL_MEMORY, FAIL_DISK };

enum failure program_fail(struct program *program, enum failure failure, uint32_t within);
/* One in eight. */
enum failure program_may_fail(struct program *program, uint32_t within);
void program_mend(struct program *program, enum failure failure);
/* Failed by what RocksDB did while there was no disk: to be tried again, once. */
bool program_must_again(struct program *program, int result, enum failure failure);

/* ---- what there is ---- */

/* Fills program->told. */
void program_look(struct program *program, uint64_t from_ns, uint64_t to_ns, bool at_series);
const struct told *program_find_told(
        struct program *program, const struct store_window_name *window, uint32_t unit);
/* A unit of the model as the store told of it, without shares. */
struct model_unit *program_add_told(struct model_window *window, const struct told *told);
bool program_is_told(struct program *program, const struct store_window_name *window);
void program_check_windows(struct program *program);

/* ---- steps ---- */

void program_append(struct program *program, enum failure failure);
void program_seal(struct program *program);
void program_sum_heads(struct program *program);
void program_note_heads(struct program *program);
void program_roll(struct program *program);
void program_flush(struct program *program);
void program_hide_some(struct program *program);
struct model_run *program_pick_run(struct program *program);
void program_erase(struct program *program, struct model_run *run);
void program_undo(struct program *program, struct model_run *run);
void program_make_policy(struct program *program, uint32_t number);
void program_retain(struct program *program);
void program_hold(struct program *program);
void program_part(struct program *program);
void program_delete_range(struct program *program, uint64_t from, uint64_t to);
void program_delete(struct program *program);
void program_forget(struct program *program);
void program_query(struct program *program);
void program_check_totals(struct program *program);
void program_collect(struct program *program);
void program_restart(struct program *program);
