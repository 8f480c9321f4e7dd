/* Start floor, `spawn_floor CHILD COUNT`: COUNT times, runs `CHILD write 1` on a PTY until its byte has come and it is reaped.
 *
 * Prints {"p50_s"}: posix_openpt, posix_spawn, first byte and exit together.
 */
#include "pty.h"

static double start_once(char *child)
{
    char *child_argv[] = {child, "write", "1", NULL};
    char byte;
    pid_t pid;
    double started = now_s();
    int master = spawn_on_pty(child_argv, &pid);
    if (read(master, &byte, 1) != 1)
        die("read");
    waitpid(pid, NULL, 0);
    double seconds = now_s() - started;
    close(master);
    return seconds;
}

int main(int argc, char **argv)
{
    int count = argc == 3 ? atoi(argv[2]) : 0;
    if (count < 1) {
        fprintf(stderr, "usage: spawn_floor CHILD COUNT\n");
        return 2;
    }
    double *seconds = calloc(count, sizeof *seconds);
    for (int i = 0; i < count; i++)
        seconds[i] = start_once(argv[1]);
    printf("{\"p50_s\": %.9f}\n", percentile(seconds, count, 0.5));
    return 0;
}
