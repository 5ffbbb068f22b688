// A view is a function of the state that returns nodes. patch() makes the document equal to it and touches nothing that is so already:
// focus, selection and scroll position stay. What hosts have sent becomes text nodes and attributes only.

const svg = "http://www.w3.org/2000/svg";

/** A node to be: `h("li", { key, class, onclick, ... }, children)`. Children may be nested lists; null and false are left out. */
export function h(tag, props, ...children) {
  return { tag, props: props ?? {}, children: children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false) };
}

/** Makes the children of an element those that are given. Nodes with a key are recognised by it, others by their order and tag. */
export function patch(parent, next) {
  const keyed = new Map(), others = [];
  for (const node of parent.childNodes) {
    if (node.view?.props.key !== undefined) keyed.set(node.view.props.key, node);
    else others.push(node);
  }

  let at = 0;
  const nodes = next.map(view => {
    if (typeof view !== "object") {
      const text = String(view);
      if (others[at]?.nodeType !== Node.TEXT_NODE) return document.createTextNode(text);
      const node = others[at++];
      if (node.data !== text) node.data = text;
      return node;
    }
    const old = view.props.key !== undefined ? keyed.get(view.props.key) : others[at];
    // Two of the same key are two nodes all the same.
    keyed.delete(view.props.key);
    if (old?.view?.tag !== view.tag) return update(create(view), view);
    if (view.props.key === undefined) at++;
    return update(old, view);
  });

  // First what goes, then what moves: a node whose order has not changed is not moved, so it keeps the focus.
  const kept = new Set(nodes);
  for (const node of [...parent.childNodes]) if (!kept.has(node)) node.remove();
  nodes.forEach((node, i) => {
    if (parent.childNodes[i] !== node) parent.insertBefore(node, parent.childNodes[i] ?? null);
  });
}

function create(view) {
  return view.tag.startsWith("svg:") ? document.createElementNS(svg, view.tag.slice(4)) : document.createElement(view.tag);
}

function update(node, view) {
  const before = node.view?.props ?? {};
  for (const name of new Set([...Object.keys(before), ...Object.keys(view.props)])) {
    const value = view.props[name];
    if (name === "key" || before[name] === value) continue;
    if (name.startsWith("on")) node[name] = value ?? null;
    else if (name.startsWith("--")) node.style.setProperty(name, value ?? "");
    else if (value === null || value === undefined || value === false) node.removeAttribute(name);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.view = view;
  patch(node, view.children);
  return node;
}
