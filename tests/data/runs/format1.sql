-- A run of format 1, stopped in its second generation, as eureka-agent wrote it; `fixture_blobs` becomes the folder of blobs.
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE candidates (
    id TEXT PRIMARY KEY, generation INTEGER NOT NULL, slot INTEGER NOT NULL, operator TEXT NOT NULL,
    parents TEXT NOT NULL, verdict TEXT, message TEXT, code TEXT NOT NULL, reflection TEXT NOT NULL,
    record TEXT NOT NULL);
INSERT INTO "candidates" VALUES('g0c0',0,0,'sample','',NULL,NULL,'import torch


def compute_reward(pole_angle: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """g0c0"""
    upright = torch.cos(pole_angle)
    return upright, {"upright": upright}
','g0c0 (a fresh sample): fitness 6.682 s (balanced time, higher is better; mean of 30 episodes from 6.682 to 6.682), success 100%.

Training: 1000 steps; the policy is from step 1000, the peak of its own return (6.682).
Over training, at up to 8 even points, then [min, mean, max]:
  episode length: 50 100 [50, 75, 100]
  own return: 6.682 [6.682, 6.682, 6.682]
Reward components, as sum per episode (share of the total magnitude):
  progress (100%): 3.341 6.682 [3.341, 5.012, 6.682]
','{"brief":{"id":"g0c0","generation":0,"slot":0,"operator":"sample","parents":[],"seed":1829960142},"code":"import torch\n\n\ndef compute_reward(pole_angle: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:\n    \"\"\"g0c0\"\"\"\n    upright = torch.cos(pole_angle)\n    return upright, {\"upright\": upright}\n","genome":null,"failure":null,"reflection":"g0c0 (a fresh sample): fitness 6.682 s (balanced time, higher is better; mean of 30 episodes from 6.682 to 6.682), success 100%.\n\nTraining: 1000 steps; the policy is from step 1000, the peak of its own return (6.682).\nOver training, at up to 8 even points, then [min, mean, max]:\n  episode length: 50 100 [50, 75, 100]\n  own return: 6.682 [6.682, 6.682, 6.682]\nReward components, as sum per episode (share of the total magnitude):\n  progress (100%): 3.341 6.682 [3.341, 5.012, 6.682]\n"}');
INSERT INTO "candidates" VALUES('g0c1',0,1,'sample','',NULL,NULL,'import torch


def compute_reward(pole_angle: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """g0c1"""
    upright = torch.cos(pole_angle)
    return upright, {"upright": upright}
','g0c1 (a fresh sample): fitness 7.034 s (balanced time, higher is better; mean of 30 episodes from 7.034 to 7.034), success 100%.

Training: 1000 steps; the policy is from step 1000, the peak of its own return (7.034).
Over training, at up to 8 even points, then [min, mean, max]:
  episode length: 50 100 [50, 75, 100]
  own return: 7.034 [7.034, 7.034, 7.034]
Reward components, as sum per episode (share of the total magnitude):
  progress (100%): 3.517 7.034 [3.517, 5.276, 7.034]
','{"brief":{"id":"g0c1","generation":0,"slot":1,"operator":"sample","parents":[],"seed":4018202270},"code":"import torch\n\n\ndef compute_reward(pole_angle: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:\n    \"\"\"g0c1\"\"\"\n    upright = torch.cos(pole_angle)\n    return upright, {\"upright\": upright}\n","genome":null,"failure":null,"reflection":"g0c1 (a fresh sample): fitness 7.034 s (balanced time, higher is better; mean of 30 episodes from 7.034 to 7.034), success 100%.\n\nTraining: 1000 steps; the policy is from step 1000, the peak of its own return (7.034).\nOver training, at up to 8 even points, then [min, mean, max]:\n  episode length: 50 100 [50, 75, 100]\n  own return: 7.034 [7.034, 7.034, 7.034]\nReward components, as sum per episode (share of the total magnitude):\n  progress (100%): 3.517 7.034 [3.517, 5.276, 7.034]\n"}');
INSERT INTO "candidates" VALUES('g1c0',1,0,'mutate','g0c1',NULL,NULL,'import torch


def compute_reward(pole_angle: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """g1c0"""
    upright = torch.cos(pole_angle)
    return upright, {"upright": upright}
','','{"brief":{"id":"g1c0","generation":1,"slot":0,"operator":"mutate","parents":["g0c1"],"seed":3593839414},"code":"import torch\n\n\ndef compute_reward(pole_angle: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:\n    \"\"\"g1c0\"\"\"\n    upright = torch.cos(pole_angle)\n    return upright, {\"upright\": upright}\n","genome":null,"failure":null,"reflection":""}');
CREATE TABLE decisions (key TEXT PRIMARY KEY, value TEXT NOT NULL, decided REAL NOT NULL);
INSERT INTO "decisions" VALUES('g0/briefs','{"briefs":[{"id":"g0c0","generation":0,"slot":0,"operator":"sample","parents":[],"seed":1829960142},{"id":"g0c1","generation":0,"slot":1,"operator":"sample","parents":[],"seed":4018202270}]}',1.79527253527431726459e+09);
INSERT INTO "decisions" VALUES('g0c0/proposal','{"code":"import torch\n\n\ndef compute_reward(pole_angle: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:\n    \"\"\"g0c0\"\"\"\n    upright = torch.cos(pole_angle)\n    return upright, {\"upright\": upright}\n","genome":null,"failure":null}',1.79527253527686285971e+09);
INSERT INTO "decisions" VALUES('g0c1/proposal','{"code":"import torch\n\n\ndef compute_reward(pole_angle: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:\n    \"\"\"g0c1\"\"\"\n    upright = torch.cos(pole_angle)\n    return upright, {\"upright\": upright}\n","genome":null,"failure":null}',1.79527253527776122095e+09);
INSERT INTO "decisions" VALUES('g0c0/evaluation-seeds','{"seeds":[1427049388,4280920211,2117572282,222673072,1276428232,911740699,3001442605,2843791600,173428993,2668065240,1336740736,3489348144,3666759698,3275215388,4021943228,305978158,2929864162,2454360540,3573664887,4166167486,3570790606,2612581199,3044483550,1911041047,639742256,566478123,2320475125,4107858753,212860951,2070865090]}',1.79527253528339147568e+09);
INSERT INTO "decisions" VALUES('g0c1/evaluation-seeds','{"seeds":[1328374760,3119064744,2448085234,2082558609,3832361935,3682872724,2710009261,647288569,1817116375,3440041036,863355551,3358555611,561810717,4160539092,1928341076,2434668984,3235818510,145121972,3230177409,2281339676,1215680897,156906141,1986786969,1165249633,342989341,2393773288,1940339252,417346184,923190474,1102105488]}',1.79527253530463385584e+09);
INSERT INTO "decisions" VALUES('g1/briefs','{"briefs":[{"id":"g1c0","generation":1,"slot":0,"operator":"mutate","parents":["g0c1"],"seed":3593839414},{"id":"g1c1","generation":1,"slot":1,"operator":"sample","parents":[],"seed":4001332458}]}',1.79527253533206558231e+09);
INSERT INTO "decisions" VALUES('g1c0/proposal','{"code":"import torch\n\n\ndef compute_reward(pole_angle: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:\n    \"\"\"g1c0\"\"\"\n    upright = torch.cos(pole_angle)\n    return upright, {\"upright\": upright}\n","genome":null,"failure":null}',1.79527253534423065182e+09);
INSERT INTO "decisions" VALUES('g1c1/proposal','{"code":"import torch\n\n\ndef compute_reward(pole_angle: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:\n    \"\"\"g1c1\"\"\"\n    upright = torch.cos(pole_angle)\n    return upright, {\"upright\": upright}\n","genome":null,"failure":null}',1.79527253534511423106e+09);
INSERT INTO "decisions" VALUES('g1c0/evaluation-seeds','{"seeds":[409381384,2499387545,160892558,3418795581,2931326086,1108506017,2393182228,3785646823,3918968720,1660635005,4026847714,3584693736,1589763855,1968985420,2558971283,1192118771,4016726541,2280242026,2623451390,3059355440,2451923357,3118148398,3088697937,2908619593,2515756388,4209081324,2944528278,569747992,2457946978,2812867872]}',1.7952725353597090244e+09);
CREATE TABLE fixture_blobs (name TEXT, content TEXT);
INSERT INTO "fixture_blobs" VALUES('0b32a5547c94fefbef1f6274d223c2d23875bbb1ab53b07d14ae6d7eeb96b3bb','{"fitness": 6.6822306614467095}');
INSERT INTO "fixture_blobs" VALUES('44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a','{}');
INSERT INTO "fixture_blobs" VALUES('4c4ea1295caf0ba8e542d656de2ac749fc13e9b8dcc01505b27443e7d973d6b0','"""Gymnasium''s own InvertedPendulum-v5 reward: one for each step that the pole is up."""

import torch


def compute_reward(terminated: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """1 per step, 0 on the step in which the pole falls."""
    alive = 1.0 - terminated
    return alive, {"alive": alive}
');
INSERT INTO "fixture_blobs" VALUES('5a6d1db8be2df32ca5c9d2c3b3bdd3c512a40ce9a9a62ccebc12f8558dea53dd','"""Inverted pendulum: how long the pole stays up."""

from __future__ import annotations

from eureka_evaluation.episode import Episode


def fitness(episode: Episode) -> float:
    """Simulated time until the pole fell or time ran out, in s."""
    return episode.seconds


def success(episode: Episode) -> bool:
    """The pole never fell."""
    return not episode.terminated
');
INSERT INTO "fixture_blobs" VALUES('6b8ac1dde3c7ae3f8e9243f387535f1ffba403cc0a6ea29fafd42e20e61685cc','{"fitness": 7.034014546333196}');
INSERT INTO "fixture_blobs" VALUES('6e3baf981b144112601910f732d516a27827df0bab7e3a668077e96f26dda8d6','{"fitness": 3.869541433530982}');
INSERT INTO "fixture_blobs" VALUES('ed5f28ae6181ad5edaeb1a9c31921bdc6b8742e9ada75ab5174bb3a2eac59f45','# A task in words. This is what the model that writes rewards reads first: say what you want, not how to reward it.
description: >-
  A pole hinged on a cart should be kept upright by moving the cart, for as long as the episode lasts.

environment:
  mujoco: inverted_pendulum  # body of the fast engine; `eureka doctor` lists them
  episode_steps: 1000       # control steps until an episode is cut; one step is 0.04 s here

# What `fitness` and `success` in task.py measure. Higher fitness is always better.
metric:
  name: balanced time
  unit: s
  meaning: >-
    How long the pole stayed up (tilted less than 0.2 rad), at most 40 s.
  success: >-
    The pole never fell.

# How one candidate''s policy is trained, in the style of rl-baselines3-zoo.
training:
  algorithm: ppo
  timesteps: 30000          # environment steps per candidate
  hyperparameters:          # Stable-Baselines3''s own arguments; what is not named keeps its default
    n_envs: 8               # robots stepped side by side
    n_steps: 256            # steps of each robot between two updates
    batch_size: 64
    n_epochs: 10
    normalize: true         # running normalisation of observations and rewards (VecNormalize)

evaluation_episodes: 30     # episodes per score, each from its own seed, deterministic policy
');
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO "meta" VALUES('version','0.1.0');
INSERT INTO "meta" VALUES('created','1795272535.2248209');
INSERT INTO "meta" VALUES('elapsed_seconds','0.130');
INSERT INTO "meta" VALUES('generations','1');
INSERT INTO "meta" VALUES('settings','{"population":2,"generations":2,"seed":0,"model":"offline","timesteps":1000,"algorithm":null,"learner":"fused","jobs":1,"final_seeds":1,"max_seconds":null,"wall_seconds":null,"memory_mb":3072}');
INSERT INTO "meta" VALUES('task','{"name": "inverted_pendulum_balance", "origin": "tasks/inverted_pendulum_balance", "files": {"task.yaml": "ed5f28ae6181ad5edaeb1a9c31921bdc6b8742e9ada75ab5174bb3a2eac59f45", "task.py": "5a6d1db8be2df32ca5c9d2c3b3bdd3c512a40ce9a9a62ccebc12f8558dea53dd", "reward_human.py": "4c4ea1295caf0ba8e542d656de2ac749fc13e9b8dcc01505b27443e7d973d6b0"}, "anchors": null}');
CREATE TABLE scores (
    key TEXT PRIMARY KEY, episodes INTEGER, fitness REAL, success_rate REAL, seconds REAL,
    verdict TEXT, message TEXT, record TEXT NOT NULL, finished REAL NOT NULL);
INSERT INTO "scores" VALUES('g0c0',30,6.68223066144670951871e+00,1.0,0.001,NULL,NULL,'{"seeds":[1427049388,4280920211,2117572282,222673072,1276428232,911740699,3001442605,2843791600,173428993,2668065240,1336740736,3489348144,3666759698,3275215388,4021943228,305978158,2929864162,2454360540,3573664887,4166167486,3570790606,2612581199,3044483550,1911041047,639742256,566478123,2320475125,4107858753,212860951,2070865090],"fitness":[6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095,6.6822306614467095],"success":[true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true],"lengths":[1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000],"recorded":[],"episodes":null,"video":null,"video_note":"","seconds":0.001}',1.79527253528743171691e+09);
INSERT INTO "scores" VALUES('g0c1',30,7.03401454633319556108e+00,1.0,0.001,NULL,NULL,'{"seeds":[1328374760,3119064744,2448085234,2082558609,3832361935,3682872724,2710009261,647288569,1817116375,3440041036,863355551,3358555611,561810717,4160539092,1928341076,2434668984,3235818510,145121972,3230177409,2281339676,1215680897,156906141,1986786969,1165249633,342989341,2393773288,1940339252,417346184,923190474,1102105488],"fitness":[7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196,7.034014546333196],"success":[true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true],"lengths":[1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000],"recorded":[],"episodes":null,"video":null,"video_note":"","seconds":0.001}',1.7952725353058698177e+09);
INSERT INTO "scores" VALUES('g1c0',30,3.86954143353098212188e+00,0.0,0.001,NULL,NULL,'{"seeds":[409381384,2499387545,160892558,3418795581,2931326086,1108506017,2393182228,3785646823,3918968720,1660635005,4026847714,3584693736,1589763855,1968985420,2558971283,1192118771,4016726541,2280242026,2623451390,3059355440,2451923357,3118148398,3088697937,2908619593,2515756388,4209081324,2944528278,569747992,2457946978,2812867872],"fitness":[3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982,3.869541433530982],"success":[false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false],"lengths":[1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000,1000],"recorded":[],"episodes":null,"video":null,"video_note":"","seconds":0.001}',1.7952725353644948006e+09);
CREATE TABLE trainings (
    key TEXT PRIMARY KEY, seed INTEGER, timesteps INTEGER, seconds REAL, peak_return REAL,
    verdict TEXT, message TEXT, record TEXT NOT NULL, finished REAL NOT NULL);
INSERT INTO "trainings" VALUES('g0c0',3735218024,1000,0.001,6.68223066144670951871e+00,NULL,NULL,'{"seed":3735218024,"timesteps":1000,"seconds":0.001,"startup_seconds":0.0,"peak_timesteps":1000,"peak_return":6.6822306614467095,"curves":{"time/total_timesteps":[500.0,1000.0],"rollout/ep_rew_mean":[null,6.6822306614467095],"rollout/ep_len_mean":[50.0,100.0],"reward/progress":[3.3411153307233548,6.6822306614467095]},"policy":"0b32a5547c94fefbef1f6274d223c2d23875bbb1ab53b07d14ae6d7eeb96b3bb","policy_meta":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","versions":{"scripted":"1"}}',1.79527253528256058694e+09);
INSERT INTO "trainings" VALUES('g0c1',3734523835,1000,0.001,7.03401454633319556108e+00,NULL,NULL,'{"seed":3734523835,"timesteps":1000,"seconds":0.001,"startup_seconds":0.0,"peak_timesteps":1000,"peak_return":7.034014546333196,"curves":{"time/total_timesteps":[500.0,1000.0],"rollout/ep_rew_mean":[null,7.034014546333196],"rollout/ep_len_mean":[50.0,100.0],"reward/progress":[3.517007273166598,7.034014546333196]},"policy":"6b8ac1dde3c7ae3f8e9243f387535f1ffba403cc0a6ea29fafd42e20e61685cc","policy_meta":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","versions":{"scripted":"1"}}',1.79527253530378103256e+09);
INSERT INTO "trainings" VALUES('g1c0',4199142043,1000,0.001,3.86954143353098212188e+00,NULL,NULL,'{"seed":4199142043,"timesteps":1000,"seconds":0.001,"startup_seconds":0.0,"peak_timesteps":1000,"peak_return":3.869541433530982,"curves":{"time/total_timesteps":[500.0,1000.0],"rollout/ep_rew_mean":[null,3.869541433530982],"rollout/ep_len_mean":[50.0,100.0],"reward/progress":[1.934770716765491,3.869541433530982]},"policy":"6e3baf981b144112601910f732d516a27827df0bab7e3a668077e96f26dda8d6","policy_meta":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","versions":{"scripted":"1"}}',1.79527253535754013056e+09);
CREATE VIEW leaderboard AS
    SELECT id, generation, operator, parents, fitness, success_rate, c.verdict, c.message, t.timesteps, t.seconds
    FROM candidates c LEFT JOIN trainings t ON t.key = c.id LEFT JOIN scores s ON s.key = c.id
    ORDER BY fitness DESC NULLS LAST, generation, slot;
COMMIT;
