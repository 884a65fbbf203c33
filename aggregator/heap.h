#pragma once

/*
 * heap keeps the C library to the budget: what was freed is given back to the machine, but for a
 * part that `memory` allows to be kept for what comes next.
 *
 * By itself the library keeps most of it. Between an import's groups that was 11 MB of 110, which
 * lay in pieces between what is in use, where only going over all of it finds them.
 */

#include <stdint.h>

/* First of all in main(): there must be no other thread yet. */
void heap_begin(void);

/* What it may keep at the end of each heap without asking. */
void heap_set_idle(uint64_t idle_bytes_max);

/* Gives back all that is free when it is more than this. About a millisecond; any thread. */
void heap_give_back(uint64_t idle_bytes_max);
