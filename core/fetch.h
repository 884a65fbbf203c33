#pragma once

/*
 * fetch asks memory for what will be looked at soon.
 *
 * Not plain __builtin_prefetch(): to gcc (12 at least) that has no effect, so a function that does
 * nothing but prefetch has none either, and calls of it are left out without a word. Here nothing
 * is said in a way that must not be left out, and whoever says it is called.
 */

static inline void fetch(const void *at)
{
	/* tidy-allow: __builtin_prefetch because this is where it is safe */
	__builtin_prefetch(at);
	__asm__ volatile("" : : "r"(at));
}

static inline void fetch_to_write(const void *at)
{
	/* tidy-allow: __builtin_prefetch because this is where it is safe */
	__builtin_prefetch(at, 1);
	__asm__ volatile("" : : "r"(at));
}
