#pragma once

/*
 * oracle_model is what a store should be, written for clarity: rows in a list, and lists of who has
 * them. Every answer is computed by going over all of it.
 *
 *	section   what an agent sent once: rows, coverage, losses of several series
 *	window    what a seal made of sections, or a rollup of windows; of whatever level
 *	unit      what a window has of one service and class: shares of sections
 *	share     a section, and which of its series
 *	run       which units, or parts of them, are hidden
 *
 * Which windows and units there are, by which numbers, and how series were shared out among units
 * is learned from the store's inventory, and checked to be all that should be in them. What they
 * hold, what of it is visible, what answers a question, and every number of the answer, is the
 * model's own.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/rng.h"
#include "profile/answer.h"
#include "storage/store_expire.h"

#define MODEL_SERVICES  3
#define MODEL_INSTANCES 5
#define MODEL_PERIODS   2
#define MODEL_SERIES    (MODEL_SERVICES * MODEL_INSTANCES * MODEL_PERIODS)
#define MODEL_FUNCTIONS 24
#define MODEL_MODULES   4 /* callers of functions: what rare ones fold into */
#define MODEL_NODES     (MODEL_FUNCTIONS + MODEL_MODULES + 1) /* and main */
#define MODEL_OBSERVERS 3
#define MODEL_EPOCHS    2
#define MODEL_SHARDS    2

#define MODEL_ROWS_MAX           12
#define MODEL_SECTIONS_MAX       400
#define MODEL_UNITS_MAX          64
#define MODEL_SOURCES_MAX        512
#define MODEL_WINDOWS_MAX        1024
#define MODEL_RUNS_MAX           4
#define MODEL_ITEMS_MAX          512
#define MODEL_GENERATIONS_MAX    (1u << 16)
#define MODEL_GENERATION_COMPACT (1u << 23) /* numbers of compact ones, from here on */

struct model_row {
	uint32_t series;
	uint32_t function;
	uint64_t value;
};

struct model_section {
	uint32_t observer, epoch, shard;
	uint64_t seq;
	uint64_t start_ns, duration_ns;
	struct model_row rows[MODEL_ROWS_MAX];
	uint32_t rows_count;
	uint64_t coverage_ns[MODEL_SERIES];
	uint64_t lost[MODEL_SERIES]; /* by LOSS_RING_FULL */
	uint64_t lost_of_none;       /* by LOSS_PERF_LOST */
	uint32_t reported;           /* series that have rows or coverage, as bits */
	uint32_t generation;         /* of the dictionary that it was kept in */
	bool is_there;               /* the place is taken */
	bool is_kept;                /* was acknowledged: sent again it is a DUP */
	bool is_open;                /* it is not sealed */
	uint32_t open;               /* and these series are not */
};

struct model_share {
	uint32_t section;
	uint32_t series; /* bits */
};

struct model_unit {
	uint32_t number;
	uint32_t class;
	uint32_t service;
	uint32_t parts;  /* of enum store_part: on the disk */
	uint32_t hidden; /* of all runs */
	uint64_t rows;   /* of detail that it was made of */
	bool is_gone;
	bool is_void; /* and nothing is missing by that */
	struct model_share *shares;
	uint32_t shares_count;
};

struct model_window {
	struct store_window_name name;
	uint32_t generation;
	uint32_t moves_to; /* the generation that it moved to, at the end of this turn; or 0 */
	uint64_t made_ns;
	uint64_t first_ns, last_ns; /* starts of the oldest and the newest that it was made of */
	uint64_t batches;           /* that it was made of, hidden ones as well */
	bool is_hidden;             /* as a whole */
	bool can_make_again;        /* at some moment: see model_can_make_again() */
	struct model_unit units[MODEL_UNITS_MAX];
	uint32_t units_count;
	uint32_t *sections; /* who was watching */
	uint32_t sections_count;
	struct store_window_name sources[MODEL_SOURCES_MAX]; /* of every level */
	uint32_t sources_count;
};

struct model_run {
	uint64_t id; /* 0: none */
	uint64_t hidden_ns;
	struct store_expire_item items[MODEL_ITEMS_MAX];
	uint32_t items_count;
};

struct model {
	struct model_section sections[MODEL_SECTIONS_MAX];
	struct model_window *windows[MODEL_WINDOWS_MAX];
	uint32_t windows_count;
	struct model_run runs[MODEL_RUNS_MAX];
	uint64_t next_seq[MODEL_OBSERVERS][MODEL_EPOCHS][MODEL_SHARDS];
	struct store_counters counters;
	/* Which series each generation of the dictionary knows, as bits. */
	uint32_t generation_series[MODEL_GENERATIONS_MAX];
	uint32_t group_of_sums[MODEL_SERIES]; /* series of one number share a group of sums */
};

/* Where a generation has its place: compact ones are numbered from afar. */
uint32_t model_place(uint32_t generation);
/* Series that a generation knows, as bits; a compact one those of its windows, at least. */
uint32_t model_known(const struct model *model, uint32_t generation);

extern const uint64_t model_periods[MODEL_PERIODS];

static inline uint32_t model_service(uint32_t series)
{
	return series / MODEL_PERIODS / MODEL_INSTANCES;
}

static inline uint32_t model_instance(uint32_t series)
{
	return series / MODEL_PERIODS % MODEL_INSTANCES;
}

/* All series of a service, or of an instance, as bits. */
uint32_t model_series_of_service(uint32_t service);
uint32_t model_series_of_instance(uint32_t instance);

struct model *model_new(void);
void model_free(struct model *model);

/* ---- sections ---- */

/* NULL: there is no place. */
struct model_section *model_new_section(struct model *model, struct rng *rng, uint64_t now_ns);
/* Forgets sections that are nowhere any more, and that began before then. */
void model_forget_sections(struct model *model, uint64_t before_ns);
/* How much of a section's rows of a series is said to be folded: a part of some of them. */
uint64_t model_folded(const struct model_section *section, uint32_t series);
/* The store took it. */
void model_keep(struct model *model, struct model_section *section, uint32_t generation);

/* ---- windows ---- */

bool model_is_same(const struct store_window_name *a, const struct store_window_name *b);
/* NULL: there is none. */
struct model_window *model_find(struct model *model, const struct store_window_name *name);
struct model_window *model_add(struct model *model, const struct store_window_name *name);
void model_remove(struct model *model, struct model_window *window);
/* NULL: none of that number, or gone. */
struct model_unit *model_unit(struct model_window *window, uint32_t number);
struct model_unit *model_add_unit(struct model_window *window, uint32_t number);
void model_put_share(struct model_unit *unit, uint32_t section, uint32_t series);
void model_put_section(struct model_window *window, uint32_t section);
void model_note_ends(struct model_window *window, uint64_t first_ns, uint64_t last_ns);
/* All series of a unit. */
uint32_t model_unit_series(const struct model_unit *unit);
bool model_unit_is_visible(const struct model_unit *unit);

bool model_has_source(const struct model_window *window, const struct store_window_name *source);
/* Is it in a window of a higher level? Of any, or of the next one, visible. */
bool model_is_taken(struct model *model, const struct model_window *window);
bool model_is_rolled_up(struct model *model, const struct model_window *window);

/* ---- what is hidden ---- */

struct model_run *model_find_run(struct model *model, uint64_t id);
bool model_run_names(const struct model_run *run, const struct store_window_name *window);
/* What the run hides of a unit. */
uint32_t model_run_parts(
        const struct model_run *run, const struct store_window_name *window, uint32_t unit);
/* Hides what of the items is there and visible. false: nothing is, and there is no run. */
bool model_hide(struct model *model, struct model_run *run, uint64_t id, uint64_t now_ns,
        const struct store_expire_item *items, uint32_t count, struct store_expired *ret_expired);
/* After runs have changed. */
void model_settle_hidden(struct model *model);
/*
 * Would the rollup, made again, have all that it has? All that it was made of, next below, must be
 * there, with every unit of a service that it has; what that run hides is there.
 */
bool model_can_make_again(
        struct model *model, const struct model_window *rollup, const struct model_run *but);

/* ---- questions ---- */

struct model_question {
	uint64_t from_ns, to_ns;
	uint32_t wanted;               /* series, as bits */
	uint32_t groups[MODEL_SERIES]; /* what each is told apart as */
};

struct model_answer {
	uint64_t value[MODEL_SERIES][MODEL_NODES]; /* by group, in units */
	uint64_t coverage_ns[MODEL_SERIES];
	struct completeness completeness;
};

void model_ask(struct model *model, const struct model_question *question,
        struct model_answer *ret_answer);

/* Which series of a section rows can still be read of. */
uint32_t model_readable(struct model *model, uint32_t section);
/* Is it open, or in a window of level 0? */
bool model_is_scanned(struct model *model, uint32_t section);
/* Start of the oldest and the newest that there is; both 0: none. */
void model_ends(struct model *model, uint64_t *ret_first_ns, uint64_t *ret_last_ns);

/* All windows and what is open, for whoever looks for a mistake. */
void model_print(const struct model *model);
