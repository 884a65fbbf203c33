#pragma once

/*
 * proc_text reads what the kernel writes of a process: a line of /proc/PID/stat and the lines of
 * /proc/PID/maps. Text only, opened and read by whoever calls.
 *
 * The process chooses some of it (its name, the names of its files) and may write a /proc of its
 * own where the agent is told to look for one: anything may come, and what is no such line is not
 * taken.
 */

#include <stdbool.h>
#include <stdint.h>

#include "agent/observation.h"

/* What /proc/PID/stat says. */
struct proc_stat {
	char comm[OBSERVATION_COMM_BYTES]; /* ends with zeroes */
	char state;
	int32_t parent;
	int32_t group;
	uint64_t flags;
	uint64_t threads;
	uint64_t start_ticks;
};

/* 0, -EBADMSG. */
int proc_text_stat(const char *text, struct proc_stat *ret_stat);

/* A line of /proc/PID/maps about memory that may be executed. */
struct proc_map {
	uint64_t start;
	uint64_t end; /* behind start */
	uint64_t offset;
	uint64_t inode;
	uint32_t device_major;
	uint32_t device_minor;
	const char *path; /* borrowed from the text; empty where there is none */
};

/*
 * The next mapping of code at or behind *text, which moves to the line after it; lines that are
 * none are passed over. Ends of lines that were read become zeroes. False at the end of the text.
 */
bool proc_text_next_map(char **text, struct proc_map *ret_map);
