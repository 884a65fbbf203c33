#pragma once

/*
 * config is everything an operator may say to profleet-aggregator: one table that is command line,
 * file, check and documentation. Sizes are bounds, not reservations.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/options.h"
#include "profile/dict.h"

struct aggregator_config {
	char *data;
	char *listen;
	char *http;
	char *config;
	bool check_config;
	bool verify;
	char *restore;     /* NULL: not */
	char *backup_path; /* NULL: "backups" in the data folder */
	uint32_t output;   /* enum verify_output */
	uint32_t ready_fd; /* 0: none */
	uint32_t log_level;
	uint32_t log_format;
	uint64_t memory; /* 0: half of what there is; below, 0: a share of it (memory_budget.h) */
	uint64_t ingest_queue_bytes;
	uint32_t query_threads;
	uint64_t query_memory;
	uint64_t result_memory;
	uint64_t name_memory;
	uint64_t session_memory;
	uint32_t session_nodes;
	uint32_t push_bytes;
	uint64_t block_cache;
	uint64_t symbol_cache;
	uint32_t stacks_max;
	uint64_t generation_age;
	uint32_t generation_stacks;
	uint32_t service_stacks;
	uint64_t seal_size;
	uint64_t seal_every_ns;
	uint64_t late_max;
	uint32_t shards;
	uint32_t admin; /* enum admin_from */
	uint64_t roll_grace_ns;
	uint32_t fold_hour; /* 0: not */
	uint32_t fold_day;
	uint64_t collapse_after_ns; /* 0: never */
	uint64_t retention_every_ns;
	uint64_t retention_grace_ns;
	uint64_t retention_delay_ns;
	char *retention_floor; /* NULL: none */
	char *retention_ceiling;
};

extern const struct option_table aggregator_option_table;

/* How large one generation of the dictionary may become. */
struct dict_limits config_dict_limits(const struct aggregator_config *config);
