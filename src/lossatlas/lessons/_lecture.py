"""The lecture on loss surfaces: its prose, and the statements that its lessons test. It is data; the page lays it out."""

from __future__ import annotations

from lossatlas.lessons._section import Section, Statement

_RACE = "v=race&s={id}&t=0&r="
_FOUR, _DEEP = "four-wells", "deep-wells"

LECTURE = (
    Section(
        "surface",
        "What is a loss surface?",
        (
            "Choose a model, a loss and a data set. Every setting θ of the model's parameters now has one loss, L(θ): the mean over the "
            "data of the loss of each prediction. Put a point at height L(θ) above every θ, and the points together are the loss "
            "surface.",
            "The surface is complete before training begins. An algorithm does not make it. It evaluates the surface at one point, "
            "or at a few, and decides where to evaluate next.",
        ),
        (
            Statement(
                "Once the model, the loss and the data are fixed, every setting of the parameters already has its loss.",
                "A1",
            ),
        ),
    ),
    Section(
        "dimensions",
        "How many dimensions does it have?",
        (
            "There is one axis for every trainable parameter, and one more for the loss: N + 1 dimensions for N parameters. A line "
            "with a slope and an intercept has a surface in three dimensions. A network with a hundred weights is already "
            "far beyond any drawing.",
            "These counts are exact where the configuration of a model is published. For some well-known models it is not, and "
            "figures that circulate for them are rumors.",
        ),
        (
            Statement(
                "The loss surface of a model with N parameters lives in N + 1 dimensions.",
                "A2",
                "lossatlas dimension resnet50",
                predict="dimension:resnet50",
            ),
        ),
    ),
    Section(
        "drawable",
        "Is it three-dimensional?",
        (
            "Only for a model with two parameters. The hills and canyons in papers are either such a toy problem, drawn whole, or a "
            "slice: two directions through the parameters of a network, and the loss at the points of a grid in their plane.",
            "A slice is a correct picture of the plane that it shows. It becomes misleading when it is read as a picture of the "
            "surface, since two directions are few among thousands or billions.",
        ),
        (
            Statement(
                "Only a surface of two parameters can be drawn whole. Every other picture shows a slice.",
                "A3",
                watch="regression v=explore&s={id}&r=",
            ),
            Statement(
                "A random slice can hide what is typical of the surface, for example that a point is a saddle.",
                "A5",
                watch="random v=explore&s={id}&r=",
            ),
        ),
    ),
    Section(
        "pictures",
        "Where does a picture of it come from?",
        (
            "L(θ) = (1/N) Σᵢ ℓ(f_θ(xᵢ), yᵢ): the formula defines the loss everywhere, and computes it nowhere. To draw a picture, one "
            "chooses a grid of settings and evaluates the loss at each of them, over all the data.",
            "In two directions a grid of 51 points per axis takes 2,601 evaluations. In N directions it would take 51 to the power of N. "
            "This is why nobody has ever seen the whole surface of a network.",
        ),
        (
            Statement(
                "A picture samples the surface on a grid. This is expensive, and its cost can be known beforehand.",
                "A4",
                watch="random v=explore&s={id}&r=&fog=1",
            ),
        ),
    ),
    Section(
        "algorithms",
        "How do algorithms use it?",
        (
            "They evaluate it near where they are, and take a step. Gradient descent evaluates one gradient. Hill climbing evaluates the "
            "neighbors of its point, simulated annealing one random neighbor, a genetic algorithm its population, a beam search "
            "the successors of its states.",
            "No algorithm is given the shape of the surface. Each makes local decisions, and a sequence of good local decisions "
            "may still end in a poor place.",
        ),
        (
            Statement(
                "Gradient descent evaluates the loss and its gradient at one point in each step, and nothing else.",
                "B1",
                "lossatlas race four-wells --optimizers gd,momentum,adam",
                predict="seen:gd",
            ),
            Statement(
                "Search methods evaluate losses only: of neighbors, of random points, or of a whole population.",
                "B2",
                "lossatlas race four-wells --optimizers hill-climbing,annealing,genetic,beam --steps 50",
                predict="step:hill-climbing",
            ),
            Statement(
                "An algorithm gets stuck because it evaluates only its neighborhood.",
                "F2",
                "lossatlas race four-wells --optimizers gd --why",
                watch=f"{_FOUR} {_RACE}gd&fog=1",
            ),
        ),
    ),
    Section(
        "memory",
        "Do algorithms build the surface from what they evaluated?",
        (
            "No, with one exception. Descents and searches keep a point, a velocity, a population: an amount that does not grow with the "
            "number of evaluations. What they evaluated before is forgotten.",
            "Bayesian optimization keeps every observation and fits a model to them, a surrogate of the surface. It evaluates next where "
            "the surrogate promises most. Each of its steps is slow, and it needs few of them. Which method is cheaper depends on the "
            "price of one evaluation: a millisecond, or a night of training.",
        ),
        (
            Statement(
                "All of them forget what they evaluated, except Bayesian optimization.",
                "B3",
                "lossatlas race four-wells --optimizers gd,annealing,bayes --steps 40",
                watch=f"{_FOUR} {_RACE}gd,annealing,bayes&n=40&fog=1",
            ),
            Statement(
                "Many cheap steps or few informed ones: the price of an evaluation decides.",
                "B4",
                watch=f"{_FOUR} {_RACE}gd,bayes&n=40&axis=evaluations",
            ),
        ),
    ),
    Section(
        "bowl",
        "A bowl: linear regression",
        (
            "The model y = w₁·x + w₂ has two parameters, so its surface can be drawn as it is. Under a mean squared error the loss is a "
            "quadratic function of w₁ and w₂: a convex bowl with one minimum. The data were made from w₁ = 2 and w₂ = 1 "
            "with noise, and the minimum lies close to these values, not exactly on them.",
            "On a bowl there is nothing to get stuck in. Race from any start: every descent with a small enough learning rate arrives.",
        ),
        (
            Statement(
                "The loss of a linear regression is a convex bowl, and gradient descent finds its minimum.",
                "C1",
                "lossatlas race regression --optimizers gd,momentum,adam",
            ),
        ),
    ),
    Section(
        "four-wells",
        "Four wells: a surface with traps",
        (
            "The bowl is too easy. This surface has four wells of different depths, a ridge with a long narrow valley beside it, and a "
            "gentle bowl under everything. The start lies in the south-west, in the basin of a shallow well called A. The deepest "
            "well, the global one, lies in the east.",
            "Gradient descent goes straight down into A and stays. Momentum keeps a velocity, and may roll through a shallow "
            "well. Annealing sometimes accepts a step uphill, often while its temperature is high and rarely later. "
            "Restarts descend again from other starts, at several times the cost.",
        ),
        (
            Statement(
                "The surface has one global well and three traps; the start lies beside the trap A.",
                "C2",
                watch=f"{_FOUR} v=explore&s={{id}}&r=",
            ),
            Statement(
                "Gradient descent ends in the trap A.",
                "C3",
                "lossatlas race four-wells --optimizers gd",
                f"{_FOUR} {_RACE}gd",
                "end:gd",
            ),
            Statement(
                "Momentum rolls through A, and in most cases on into the global well.",
                "C3",
                "lossatlas race four-wells --optimizers gd,momentum",
                f"{_FOUR} {_RACE}gd,momentum",
                "end:momentum",
            ),
            Statement(
                "Simulated annealing usually settles in the global well.",
                "C3",
                "lossatlas race four-wells --optimizers annealing --runs 1000",
                f"{_FOUR} {_RACE}annealing",
                "rate:annealing",
            ),
            Statement(
                "Five restarts almost always find the global well.",
                "C3",
                "lossatlas race four-wells --optimizers restart --runs 1000",
                f"{_FOUR} {_RACE}restart",
                "rate:restart",
            ),
        ),
    ),
    Section(
        "deep-wells",
        "Deep wells: where adaptive methods do not help",
        (
            "Now the traps are deep. Three wells have depths of 3.0, 3.5 and 4.0, the global one 6.5, and the start belongs to a well "
            "called A. Nesterov's momentum, RMSprop, Adam and AdamW were invented to make descents faster and easier to tune. None of "
            "them was invented to leave a deep well.",
            "Four things can: noise in the gradient, noise in the search, several random starts, and a population. Training of large "
            "models combines some of them: an adaptive method against bad conditioning, mini-batches and random initialization "
            "for the rest.",
        ),
        (
            Statement(
                "The surface has three deep traps, and a global well diagonally across from the start.",
                "C4",
                watch=f"{_DEEP} v=explore&s={{id}}&r=",
            ),
            Statement(
                "Gradient descent, Nesterov, RMSprop, Adam and AdamW all end in A, in one cluster.",
                "C5",
                "lossatlas race deep-wells --optimizers gd,nesterov,rmsprop,adam,adamw",
                f"{_DEEP} {_RACE}gd,nesterov,rmsprop,adam,adamw",
                "end:adam",
            ),
            Statement(
                "Simulated annealing escapes and reaches the global well.",
                "C5",
                "lossatlas race deep-wells --optimizers annealing --runs 1000",
                f"{_DEEP} {_RACE}annealing",
                "rate:annealing",
            ),
            Statement(
                "Random restarts reach the global well.",
                "C5",
                "lossatlas race deep-wells --optimizers restart --runs 1000",
                f"{_DEEP} {_RACE}restart",
                "rate:restart",
            ),
            Statement(
                "There are four ways out: noise in the gradient, in the search, in the start, and a population.", "C7"
            ),
            Statement("On networks, the noise of mini-batches helps to leave a basin.", "D7"),
        ),
    ),
    Section(
        "modern",
        "Modern optimizers: what they are good for",
        (
            "Nesterov (1983) evaluates the gradient a step ahead of where momentum stands. RMSprop (2012) divides each "
            "gradient by a running average of its size, so that every parameter has a rate of its own. Adam (2014) joins momentum, this "
            "scaling, and a correction for the first steps. AdamW (2017) takes weight decay out of the gradient and applies it to the "
            "weights directly; most transformers are trained with it.",
            "Their advantage shows on ground that is steep in one direction and flat in another: there one rate for all parameters is "
            "either too large or too small.",
        ),
        (
            Statement(
                "Adaptive methods pay on badly conditioned, nearly convex ground; they do not help against many basins.",
                "C6",
                "lossatlas race quadratic --optimizers gd,momentum,rmsprop,adam",
            ),
            Statement(
                "On flat regions gradient descent crawls, and methods that divide by the gradient's size cross them.",
                "D2",
                "lossatlas race plateau --optimizers gd,adam",
            ),
            Statement(
                "AdamW decays the weights apart from the gradient. Adam with a penalty does not, and ends elsewhere.",
                "B5",
            ),
        ),
    ),
    Section(
        "experimental",
        "Experimental optimizers",
        (
            "Lion (2023) steps by the sign of its momentum and stores one number per parameter. Sophia (2023) divides by an estimate "
            "of the curvature and clips the result. Shampoo scales by matrices, one for each axis of a weight. Muon (2024) makes "
            "the momentum of a weight matrix orthogonal before it steps.",
            "Each has results that speak for it. None has replaced AdamW as the usual choice. Here they are held to the rules of "
            "their papers, and their memory is measured.",
        ),
        (
            Statement("Lion steps by the sign of its momentum and holds less state than Adam.", "B6"),
            Statement(
                "Sophia clips a step by a curvature estimate, Shampoo scales by matrices, Muon makes momentum orthogonal.",
                "B7",
            ),
        ),
    ),
    Section(
        "high",
        "In many dimensions",
        (
            "What we know of hills and valleys comes from three dimensions, and some of it is wrong in many. A critical point is a minimum "
            "only if the surface rises in all N directions. If each direction went up or down by a toss of a coin, almost every "
            "critical point would be a saddle, and descents leave saddles.",
            "Some of these statements are disputed. Whether flat minima generalize better depends on how flatness is "
            "measured (Dinh et al. 2017; Andriushchenko et al. 2023). Each experiment reports what it measured, for or against.",
        ),
        (
            Statement(
                "Local minima are rare among critical points, and saddles dominate, more so the more dimensions.",
                "D1",
                watch=f"monkey-saddle {_RACE}gd,momentum",
            ),
            Statement("On flat regions gradients are so small that gradient descent crawls.", "D2"),
            Statement("Networks in flat minima do better on new data than networks in sharp ones.", "D3"),
            Statement(
                "Minima of networks are connected: a straight line between two has a barrier, and a trained curve has none.",
                "D4",
            ),
            Statement("Permuting hidden units leaves the loss unchanged, so every minimum has many copies.", "D5"),
            Statement("Wider networks are easier to train.", "D6"),
        ),
    ),
    Section(
        "looking",
        "Three ways to look at a real network",
        (
            "First, a plane of two random directions through the trained network, each direction scaled filter by filter to the size "
            "of the weights. Second, the plane in which a training run moved the most, with the run drawn on it. Third, the line "
            "between two solutions, or from the first weights to the last.",
            "All three are slices of one surface. Each answers its own question, and none of them is the full picture. The card of "
            "a chart, under Explore, says how much of the curvature, of the gradient and of the path lies outside of it.",
        ),
        (
            Statement(
                "Two random directions, scaled to the network's filters, give comparable pictures.",
                "E1",
                watch="random v=explore&s={id}&r=",
            ),
            Statement("Skip connections flatten the picture; without them a deep network looks chaotic.", "E2"),
            Statement(
                "The two leading principal components of a run show how training moves.",
                "E3",
                watch="path v=explore&s={id}&r=",
            ),
            Statement(
                "On the line from the first weights to the last the loss falls; between two solutions it rises.", "E4"
            ),
            Statement(
                "These pictures are always slices, never the whole.", "E5", watch="random v=explore&s={id}&r=&fog=1"
            ),
        ),
    ),
    Section(
        "search",
        "The same surface under other names",
        (
            "Genetic algorithms speak of fitness, and climb. Fitness is minus the loss: the same surface, upside down. Populations and "
            "beams look at several places at once. In reinforcement learning the value of a policy is a surface over the parameters of "
            "the policy, and a policy gradient descends its negative by evaluating returns only.",
            "So one question applies to all of them: how much of the surface does the method evaluate, and what does it keep?",
        ),
        (
            Statement("Fitness is minus loss: climbing one is descending the other.", "H1"),
            Statement(
                "A population or a beam looks at several basins at once, and gathers in one of them.",
                "H2",
                watch=f"{_DEEP} {_RACE}genetic,beam&n=40&fog=1",
            ),
            Statement(
                "The value of a policy is a surface too, and a policy gradient moves on it by values alone.", "H3"
            ),
        ),
    ),
    Section(
        "choosing",
        "Which algorithm for which surface?",
        (
            "No algorithm is best everywhere. With a gradient and nearly convex ground, gradient descent is fast. With a gradient and many "
            "minima, add restarts or momentum. Without a gradient, on rugged ground, use annealing or a population. Where "
            "one evaluation is expensive, use Bayesian optimization.",
            "The reason an algorithm gets stuck is nearly always the same: it has no information beyond its neighborhood. Every remedy, "
            "a restart, a temperature, a beam, a velocity, a second derivative, buys a little more information, at a price.",
        ),
        (
            Statement(
                "No algorithm is best everywhere; the surface and the price of an evaluation decide.",
                "F1",
                watch=f"{_FOUR} {_RACE}gd,momentum,annealing,restart",
            ),
            Statement(
                "A few questions, each answered by a small probe of the surface, lead to a short list of algorithms.",
                "F1",
                "lossatlas advise four-wells --budget 500",
                watch=f"{_FOUR} v=explore&s={{id}}&r=",
                picture="tree",
            ),
            Statement(
                "Each remedy buys a little more information about the surface, at a price.",
                "F2",
                "lossatlas race four-wells --optimizers gd --why",
                watch=f"{_FOUR} {_RACE}gd,momentum,restart",
            ),
        ),
    ),
    Section(
        "misconceptions",
        "Four misconceptions",
        (
            "Each of these sentences is often heard, and each is tested here like any other statement. Predict first: does the "
            "experiment contradict it?",
        ),
        (
            Statement(
                "“SGD builds the loss surface.” It evaluates one point per step and keeps none of them.",
                "G1",
                watch=f"{_FOUR} {_RACE}gd&fog=1",
            ),
            Statement("“The loss is three-dimensional, since the pictures are.” The pictures are slices.", "G2"),
            Statement(
                "“Local minima are why deep learning is hard.” In many dimensions saddles are far more common.",
                "G3",
                watch=f"monkey-saddle {_RACE}gd,momentum",
            ),
            Statement(
                "“More parameters, more bad minima.” Wider networks are often easier.",
                "G4",
            ),
        ),
    ),
)
