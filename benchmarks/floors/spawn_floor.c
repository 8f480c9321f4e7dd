/* Start floor, `spawn_floor COUNT COMMAND...`: COUNT times, runs the command on a PTY until its byte has come and it is reaped.
 *
 * Prints {"p50_s"}: posix_openpt, posix_spawn, first byte and exit together.
 */
#include "pty.h"

static double start_once(char **command)
{
    char byte;
    pid_t pid;
    double started = now_s();
    int master = spawn_on_pty(command, &pid);
    if (read(master, &byte, 1) != 1)
        die("read");
    waitpid(pid, NULL, 0);
    double seconds = now_s() - started;
    close(master);
    return seconds;
}

int main(int argc, char **argv)
{
    int count = argc >= 3 ? atoi(argv[1]) : 0;
    if (count < 1) {
        fprintf(stderr, "usage: spawn_floor COUNT COMMAND...\n");
        return 2;
    }
    double *seconds = calloc(count, sizeof *seconds);
    for (int i = 0; i < count; i++)
        seconds[i] = start_once(argv + 2);
    printf("{\"p50_s\": %.9f}\n", percentile(seconds, count, 0.5));
    return 0;
}
