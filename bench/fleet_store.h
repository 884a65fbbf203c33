#pragma once

/*
 * fleet_store writes a fleet straight into a store, as an aggregator would after the wire: hosts of
 * six instances with a session each, groups of reports as one synced write, windows sealed half a
 * minute after their end, hours and days rolled up, symbols beside it. What is in the folder
 * afterwards is what profleet-aggregator opens.
 */

#include "bench/fleet.h"

/* Prints what went wrong, or the figures. An exit code. */
int fleet_store_run(struct fleet *fleet, const char *folder);
