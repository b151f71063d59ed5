//! The demonstration: a short day must go as it is announced, so that it never fails before an
//! audience.

use local_stack::demo::{Algorithm, DemoOptions, play};

#[tokio::test]
async fn short_demo_has_every_announced_event() {
    let options = DemoOptions {
        minutes: 2,
        users: Some(120),
        seed: 1,
        leave: true,
        algorithm: Algorithm::Default,
        target_free: vec![],
        name: "demo-test".to_owned(),
        ports_from: None,
    };
    let day = play(&options).await.unwrap();
    println!("{day}");
    assert_eq!(day.problems, Vec::<String>::new());

    assert!(day.arrived > 80, "{day:#?}");
    assert_eq!(day.gave_up, 0, "{day:#?}");
    // Whoever was cut off came again.
    assert_eq!(day.served, day.arrived + day.sessions_cut_off, "{day:#?}");
    let taken = day.interruption.expect("a machine was taken");
    assert!(taken.users > 0 && taken.drained && taken.gone, "{taken:?}");
    assert_eq!(day.sessions_cut_off, taken.cut_off, "on no other machine");
    assert!(day.rollout.was_swapped() && day.rollout.old_is_gone());
    assert!(
        day.served_new > 0 && day.served_new < day.served,
        "both clients"
    );
    assert!(day.launched > 10 && day.ended > 0, "machines come and go");
}
