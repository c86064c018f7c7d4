//! What the gate costs, by the kernel's own run-time statistics.

use portcullis_intercept::Status;
use portcullis_intercept::gate::status;

use super::engineer::How;
use super::world::{self, World};

/// Connects that are measured.
const COUNT: usize = 2000;

#[test]
fn the_cost_is_printed() {
    let _statistics = aya::sys::enable_stats(aya::sys::Stats::RunTime).unwrap();
    let (world, gate) = World::gated();
    let mut engineer = world.engineer();
    let elsewhere = std::net::TcpListener::bind("127.1.2.4:0").unwrap();
    let mut measure = |what: &str, to, listeners: &[std::net::TcpListener]| {
        let before = status(&world.config).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..COUNT).for_each(|_| drop(world::accept(listeners).unwrap())));
            engineer.hammer(COUNT, to).unwrap();
        });
        report(what, &before, &status(&world.config).unwrap())
    };
    let intercepted = measure("intercepted", world.target4(), &world.listeners);
    let untouched = measure("elsewhere", elsewhere.local_addr().unwrap(), std::slice::from_ref(&elsewhere));
    engineer.connect(How::Plain, world.target4()).unwrap();
    world.accept(&gate).1.unwrap();
    assert!(intercepted > 0.0 && untouched > 0.0, "the kernel kept no statistics"); // speed is the machine's affair
}

/// Prints each program's share, and returns nanoseconds a connect of the connect, handoff and peer programs.
fn report(what: &str, before: &Status, after: &Status) -> f64 {
    let mut total = 0.0;
    for (old, new) in before.programs.iter().zip(&after.programs) {
        let nanoseconds = |program: &portcullis_intercept::ProgramStatus| {
            program.nanoseconds_per_run.unwrap_or(0.0) * program.runs as f64
        };
        let (runs, time) = (new.runs - old.runs, nanoseconds(new) - nanoseconds(old));
        if runs > 0 {
            let (runs_each, each) = (runs as f64 / COUNT as f64, time / COUNT as f64);
            println!("{what:12} {:13} {runs_each:5.1} runs  {each:7.1} ns a connect", new.hook);
            if new.hook != "egress" {
                total += each;
            }
        }
    }
    println!("{what:12} total without egress {total:7.1} ns a connect");
    total
}
