#pragma once

/*
 * restore is what `profleet-aggregator --restore BACKUP --data DIR` does instead of listening: it
 * makes the folder DIR from a backup. No aggregator need be running, or have been on this machine.
 */

#include "aggregator/config.h"

/* An exit code: 0, or 5 when it failed, with the reason on standard error. */
int restore_store(const struct aggregator_config *config);
