#pragma once

/*
 * fleet_wire sends a fleet to a real aggregator as its agents would: each agent has a uuid, an
 * epoch, a session with a dictionary of its own, and the reports of its instances as sections of
 * one PUSH per interval, the next only after the acknowledgement of the one before. It answers for
 * symbols too. Nobody waits for the clock: an hour of a fleet is sent as fast as it is taken.
 */

#include <stdint.h>

#include "bench/fleet.h"

struct fleet_wire_options {
	const char *address;
	const char *tenant;   /* of all agents; "" is the default one */
	uint32_t agents;      /* the slots are shared out in runs, so an agent has few services */
	uint32_t threads;     /* how many PUSHes are under way at most */
	uint64_t patience_ns; /* how long an agent tries the same report, whatever fails */
};

/* Prints what went wrong, or the figures. An exit code. */
int fleet_wire_run(struct fleet *fleet, struct fleet_wire_options options);
