/* Grades of assertion. All are on in release builds: a store that goes on after a broken invariant is worse than one that stops.
 *
 *   must(x)        the program is wrong if x is false: prints the place and aborts.
 *   must_not()     this line cannot be reached.
 *   unfinished(s)  a path that is known and not built; counted by tools/style, zero in a release. */
#ifndef CUPEL_BASE_ASSERT_H
#define CUPEL_BASE_ASSERT_H

_Noreturn void assert_fail(const char *file, int line, const char *func, const char *what);

#define must(x) ((x) ? (void)0 : assert_fail(__FILE__, __LINE__, __func__, #x))
#define must_not() assert_fail(__FILE__, __LINE__, __func__, "unreachable")
#define unfinished(s) assert_fail(__FILE__, __LINE__, __func__, "unfinished: " s)

#endif
