#pragma once

/*
 * config is every setting of profleet-agent: one table that is command line, configuration file,
 * check, --help and man page. The table is in config.c.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/labeler.h"
#include "core/options.h"

struct relabel_table {
	struct relabel_rule *rules;
	uint32_t count;
};

struct agent_config {
	char *aggregator;
	uint32_t hz;
	uint32_t event; /* enum sampler_event */
	uint32_t tier;  /* enum sampler_tier */
	uint64_t interval_ns;
	struct option_list labels;
	char *host; /* "": the machine's name */
	char *tenant;
	char *spool;
	uint64_t spool_bytes;
	uint64_t spool_memory_bytes;
	char *state_dir;
	char *config;
	uint64_t duration_ns; /* 0: until a signal */
	char *output;
	uint32_t ready_fd;   /* 0: none */
	uint32_t log_level;  /* enum log_level */
	uint32_t log_format; /* enum log_format */
	uint64_t stop_timeout_ns;
	struct option_list environ_service;
	struct option_list environ_version;
	struct option_list environ_labels;
	struct relabel_table relabel;
};

extern const struct option_table agent_option_table;

/*
 * Fallbacks, then the file, then the command line over it. 0; -1 when help was printed; 2 after an
 * error was said on stderr. agent_config_fini() in every case.
 */
int agent_config_read(struct agent_config *config, int argc, char **argv);
void agent_config_fini(struct agent_config *config);
